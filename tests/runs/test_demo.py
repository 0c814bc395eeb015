"""ML-Agents' ``.demo`` files: read, written, and learnt from."""

from __future__ import annotations

import json
import subprocess
from copy import deepcopy
from itertools import chain

import numpy as np
import pytest

import mlagents_python
import myosu
from myosu import cli
from myosu.envs.engines.unity_messages import AgentInfoActionPair, BrainParameters, DemonstrationMeta
from myosu.envs.playback import Move
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.runs.demo import DemoFile, read_demo, write_demo

CARTPOLE = load_environment("CartPole-v1").spec
needs_mlagents = pytest.mark.skipif(not mlagents_python.PYTHON.is_file(), reason=mlagents_python.REASON)


def pair(observation, action=0, reward=0.0, done=False, cut=False, mask=()):
    made = AgentInfoActionPair()
    made.agent_info.reward, made.agent_info.done, made.agent_info.max_step_reached = reward, done, cut
    made.agent_info.action_mask.extend(mask)
    made.agent_info.observations.add(shape=[4]).float_data.data.extend([observation, 0, 0, 0])
    made.action_info.discrete_actions.append(action)
    return made


def brain(branches=(2,), continuous=0):
    made = BrainParameters(brain_name="Walk?team=0")
    made.action_spec.num_continuous_actions = continuous
    made.action_spec.discrete_branch_sizes.extend(branches)
    made.action_spec.num_discrete_actions = len(branches)
    return made


def file_of(pairs, **meta):
    return DemoFile(DemonstrationMeta(api_version=1, demonstration_name="walk", number_steps=len(pairs),
                                      number_episodes=3, **meta), brain(), pairs)


#: Two whole episodes and the beginning of a third.
PAIRS = [pair(1, 1, mask=[True, False]), pair(2, 0, reward=0.5), pair(3, 7, reward=2.0, done=True),
         pair(4, 1, reward=9.0), pair(5, 7, reward=-1.0, done=True, cut=True), pair(6, 0), pair(7, 1, reward=0.25)]


def test_rewards_and_ends_belong_to_the_previous_pair(tmp_path):
    file_of(PAIRS).write(tmp_path / "walk.demo")
    episodes = read_demo(tmp_path / "walk.demo", CARTPOLE)
    told = [[(move.observation[0], int(move.action), move.rewards[0], move.terminated, move.truncated)
             for move in episode.observed] for episode in episodes]
    assert told == [[(1, 1, 0.5, False, False), (2, 0, 2.0, True, False)], [(4, 1, -1.0, False, True)],
                    [(6, 0, 0.25, False, False)]]
    first = episodes[0].observed[0]
    assert first.legal_actions.tolist() == [False, True] and episodes[0].observed[1].legal_actions.all()
    assert first.observation.dtype == np.float32 and first.observation.shape == (4,)


def test_demo_files_have_unitys_layout_and_round_trip(tmp_path):
    one, other = tmp_path / "one.demo", tmp_path / "other.demo"
    made = file_of(PAIRS, mean_reward=0.5)
    made.write(one)
    data, meta, described = one.read_bytes(), made.meta.SerializeToString(), made.brain.SerializeToString()
    assert data[0] == len(meta) and data[1:1 + len(meta)] == meta and not any(data[1 + len(meta):33])
    assert data[33] == len(described) and data[34:34 + len(described)] == described and data.endswith(meta)
    read = DemoFile.read(one)
    assert (read.meta, read.brain, read.pairs) == (made.meta, made.brain, PAIRS)
    read.write(other)
    assert other.read_bytes() == data
    one.write_bytes(data[:-len(meta)])  # of other writers: nothing behind the steps
    assert DemoFile.read(one).pairs == PAIRS
    with pytest.raises(UserError, match="too long"):
        DemoFile(DemonstrationMeta(demonstration_name=40 * "x"), brain(), []).write(other)


def test_moves_round_trip_through_demo_files(tmp_path):
    """Of an environment with a dictionary of observations and continuous actions too."""
    rng = np.random.default_rng(0)
    for name in ("CartPole-v1", "Pendulum-v1", "Blackjack-v1", "myosu.envs.probes:myosu/ProbeBoth-v0"):
        spec = load_environment(name).spec
        episodes = []
        for length in (3, 1):
            shape, dtype = spec.observation_shape, spec.observation_dtype
            episodes.append([Move(
                rng.integers(0, 2, shape).astype(dtype), rng.random(spec.num_actions) < 2.0,
                (rng.uniform(-1, 1, spec.action_shape).astype(np.float32) if spec.action_low else
                 np.int64(rng.integers(spec.num_actions))), 0, np.array([0.5 * k]), k == 2, False)
                for k in range(length)])
        assert write_demo(tmp_path / "x.demo", name[:9], spec, episodes) == 2
        back = read_demo(tmp_path / "x.demo", spec)
        back = [episode.observed for episode in back]
        assert [len(episode) for episode in back] == [3, 1]
        assert back[1][-1].truncated and not back[1][-1].terminated, "an episode without an end is truncated"
        for before, after in zip(chain(*episodes), chain(*back), strict=True):
            assert after.observation.dtype == before.observation.dtype
            for field in ("observation", "legal_actions", "action", "rewards"):
                assert np.array_equal(getattr(before, field), getattr(after, field)), field
        file = DemoFile.read(tmp_path / "x.demo")
        assert file.meta.number_steps == 6 and file.meta.number_episodes == 2
        assert file.meta.mean_reward == pytest.approx(0.75)


def refuse(path, message, spec=CARTPOLE):
    with pytest.raises(UserError, match=message) as found:
        read_demo(path, spec)
    assert str(path) in str(found.value)


def test_unreadable_demo_files_are_refused(tmp_path):
    path = tmp_path / "bad.demo"
    refuse(path, "cannot be read: No such file")
    file_of(PAIRS).write(path)
    data = path.read_bytes()
    for length in range(0, len(data) - 40, 7):
        path.write_bytes(data[:length])
        refuse(path, "is truncated|not 1")
    path.write_bytes(b"PK\x03\x04" + bytes(range(200)))
    refuse(path, "is damaged|truncated|version")
    for pairs in ([], PAIRS[:1], [pair(1, done=True), pair(2, done=True)]):
        file_of(pairs).write(path)
        refuse(path, f"has no episodes: it holds {len(pairs)} observations")
    file_of([pair(np.nan), pair(1)]).write(path)
    refuse(path, "NaN or infinity")
    file_of([pair(1, mask=[True]), pair(1)]).write(path)
    refuse(path, "mask of 1 for 2")
    file_of(PAIRS).write(path)
    refuse(path, r"observations are \[4\], those of the environment are \[3\]|its actions are", load_environment(
        "Pendulum-v1").spec)
    refuse(path, r"its actions are Discrete\(2\), those of the environment are Discrete\(3\)", load_environment(
        "MountainCar-v0").spec)
    broken = file_of(deepcopy(PAIRS))
    del broken.pairs[0].action_info.discrete_actions[:]
    broken.write(path)
    refuse(path, "an action of 0 numbers")


@pytest.mark.slow
def test_run_is_exported_to_demo_and_cloned(tmp_path, capsys):
    """The whole way: a run's episodes, a .demo file, an agent that imitates it."""
    teacher, pupil, file = tmp_path / "teacher", tmp_path / "pupil", tmp_path / "cartpole.demo"
    myosu.train("CartPole-v1", run=teacher, env_steps=20000, evaluate_every=0, quiet=True)
    assert cli.run(["episodes", str(teacher), "--demo", str(file)]) == 0
    count = int(capsys.readouterr().out.split()[0])
    episodes = read_demo(file, CARTPOLE)
    kept = [json.loads(line) for line in (teacher / "games.jsonl").read_text().splitlines()]
    kept = [record for record in kept if "actions" in record]
    assert len(episodes) == count == len(kept)
    for episode, record in zip(episodes, kept, strict=True):
        assert [int(move.action) for move in episode.observed] == record["actions"]
        assert (episode.truncated, episode.returns) == (record["truncated"], record["returns"])
    myosu.train("CartPole-v1", "cloning", run=pupil, recordings=(str(file),), updates=300, evaluate_every=0, quiet=True)
    assert myosu.evaluate(pupil, games=20)["mean_reward"] > 100  # random: 22
    assert cli.run(["episodes", str(teacher), "--demo", str(tmp_path / "x.txt")]) == 2
    assert cli.run(["episodes", str(teacher), "--demo", str(file), "--best", "3"]) == 0
    returns = sorted(record["returns"][0] for record in kept)
    assert sorted(episode.returns[0] for episode in read_demo(file, CARTPOLE)) == returns[-3:]


@needs_mlagents
def test_ml_agents_package_reads_our_demo_files(tmp_path):
    """Message by message, with its generated stubs."""
    file_of(PAIRS, mean_reward=0.5).write(tmp_path / "walk.demo")
    code = """
import sys
from google.protobuf.internal.decoder import _DecodeVarint32 as varint
from mlagents_envs.communicator_objects.agent_info_action_pair_pb2 import AgentInfoActionPairProto
from mlagents_envs.communicator_objects.brain_parameters_pb2 import BrainParametersProto
from mlagents_envs.communicator_objects.demonstration_meta_pb2 import DemonstrationMetaProto
data, place = open(sys.argv[1], "rb").read(), 0
def read(kind):
    global place
    size, begin = varint(data, place)
    place = begin + size
    return kind.FromString(data[begin:place])
meta = read(DemonstrationMetaProto)
place = 33
brain = read(BrainParametersProto)
pairs = [read(AgentInfoActionPairProto) for _ in range(meta.number_steps)]
print(meta.demonstration_name, meta.number_episodes, brain.brain_name, list(brain.action_spec.discrete_branch_sizes))
for p in pairs:
    print(p.agent_info.observations[0].float_data.data[0], p.agent_info.reward, p.agent_info.done,
          p.agent_info.max_step_reached, list(p.agent_info.action_mask), list(p.action_info.discrete_actions))
assert DemonstrationMetaProto.FromString(data[place:]) == meta
"""
    answer = subprocess.run([mlagents_python.PYTHON, "-c", code, tmp_path / "walk.demo"], capture_output=True,
                            text=True)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0] == "walk 3 Walk?team=0 [2]" and len(lines) == 1 + len(PAIRS)
    assert lines[1] == "1.0 0.0 False False [True, False] [1]" and lines[5] == "5.0 -1.0 True True [] [7]"
