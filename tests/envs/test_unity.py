"""Unity games: ML-Agents' protocol with a fake client, valid and invalid, and compared with ML-Agents' own Python
package. Only a Unity build could test the rest, and there is none for Linux (docs/studio.md)."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

import fake_unity
import mlagents_python
import myosu
from myosu import cli
from myosu.envs.engines import engine_env, unity_channels
from myosu.envs.engines.process import EngineLost
from myosu.envs.engines.unity import UnityEnv
from myosu.envs.engines.unity_values import read_image, read_mask
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.making import EnvMaker
from myosu.envs.registry import load_environment
from myosu.envs.scenes import SceneVectorEnv
from myosu.envs.workers import WorkerVectorEnv
from myosu.errors import UserError

needs_mlagents = pytest.mark.skipif(not mlagents_python.PYTHON.is_file(), reason=mlagents_python.REASON)


@pytest.fixture
def build(tmp_path):
    """A function that creates an executable fake game (``fake_unity``)."""
    def make(mode: str, python: Path | str = sys.executable) -> str:
        file = tmp_path / f"{mode.partition('|')[0].replace(' ', '-')}.x86_64"
        file.write_text(f"#!/bin/sh\nexec '{python}' '{fake_unity.__file__}' '{mode}' \"$@\"\n")
        file.chmod(0o755)
        return f"unity:{file}"
    return make


def make(name: str, **kwargs) -> UnityEnv:
    return EnvMaker(name, {"answer_timeout": 5.0, **kwargs})()


def cells(place: int) -> list[float]:
    return [float(cell == place) for cell in range(5)]


def test_an_episode_with_masks_settings_and_statistics(build):
    env = make(build("discrete"), time_scale=7.0, parameters={"gravity": 2.5})
    assert env.action_space == spaces.Discrete(3)
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (5,), np.float32)
    observation, info = env.reset()
    assert observation.tolist() == cells(0) and info["action_mask"].tolist() == [0, 1, 1], "true is forbidden in Unity"
    answers = [env.step(action) for action in (1, 2, 2, 0, 2, 2, 2)]
    assert [answer[0].argmax() for answer in answers] == [0, 1, 2, 1, 2, 3, 4]
    assert [round(answer[1], 4) for answer in answers] == [-0.1] * 6 + [0.9]
    assert [answer[2:4] for answer in answers] == [(False, False)] * 6 + [(True, False)]
    assert answers[1][4]["action_mask"].tolist() == [1, 1, 1]
    assert answers[0][4]["statistics"] == {"time_scale": 7.0, "gravity": 2.5}
    env.reset()
    for _ in range(20):
        *_, terminated, truncated, _ = env.step(1)
    assert truncated and not terminated
    # A reset during an episode begins a new one.
    env.reset()
    env.step(2)
    assert env.reset()[0].tolist() == cells(0) and env.notices() == []
    env.close()


def test_continuous_and_several_actions(build):
    env = make(build("continuous"))
    assert env.action_space == spaces.Box(-1, 1, (2,), np.float32)
    _, info = env.reset()
    assert "action_mask" not in info
    assert [env.step(np.array([1, 0], np.float32))[2] for _ in range(4)] == [False] * 3 + [True]
    env.close()
    env = make(build("branches"))
    assert env.action_space == spaces.MultiDiscrete([3, 2])
    _, info = env.reset()
    assert info["action_mask"].tolist() == [0, 1, 1, 1, 1]
    assert env.step(np.array([2, 1]))[0].tolist() == cells(1)
    env.close()
    env = make(build("mixed"))
    assert env.action_space == spaces.Tuple((spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(3)))
    assert env.reset()[1]["action_mask"].tolist() == [0, 1, 1]
    assert env.step((np.array([0.5], np.float32), np.int64(2)))[0].tolist() == cells(1)
    env.close()


def test_several_agents_and_behaviours(build):
    """Where one agent is played, the others, which decide at other times, take default actions."""
    env = make(build("agents"))
    assert env.engine.agents == 3
    for _ in range(3):
        env.reset()
        assert [env.step(2)[2] for _ in range(4)] == [False] * 3 + [True]
    env.close()
    with pytest.raises(UserError, match=r"several behaviours\. There are: Other\?team=0, Walk\?team=0\. Choose"):
        make(build("two"))
    with pytest.raises(UserError, match=r"no behaviour 'Fly'\. There are: Other\?team=0"):
        make(build("two"), behavior="Fly")
    for name in ("Walk", "Walk?team=0"):
        env = make(build("two"), behavior=name, agents=2)
        assert env.engine.agents == 2, "some appear later"
        env.reset()
        assert [env.step(2)[2] for _ in range(4)] == [False] * 3 + [True]
        env.close()


def test_all_agents_of_a_scene_are_environments(build):
    """Three agents, which decide at each, every second and every third step: each walks to the goal by its own actions,
    and each action is answered when its agent decides again."""
    env = load_environment(build("agents")).make(3, 0)
    assert isinstance(env, SceneVectorEnv)
    env.reset()
    first = env.recv(3)
    assert first.observation.argmax(1).tolist() == [0, 0, 0]
    assert first.legal_actions.tolist() == [[False, True, True]] * 3
    ids, places, decisions = first.env_ids, np.zeros(3, int), np.zeros(3, int)
    rewards = [[] for _ in range(3)]
    for _ in range(12):
        env.send(np.full(len(ids), 2), ids)
        step = env.recv()
        ids = step.env_ids
        decisions[ids] += 1
        over = step.terminated
        assert not step.truncated.any() and (step.final_observation[over].argmax(1) == 4).all()
        places[ids] = np.where(over, 0, places[ids] + 1)
        assert (step.observation.argmax(1) == places[ids]).all()
        for index, reward in zip(ids.tolist(), step.reward.tolist(), strict=True):
            rewards[index].append(round(reward, 4))
    assert decisions[0] > decisions[1] > decisions[2] > 2
    assert all(earned == [(0.9 if k % 4 == 3 else -0.1) for k in range(len(earned))] for earned in rewards)
    with pytest.raises(UserError, match="do not act at the same time"):
        env.send(np.full(len(ids), 2), ids)
        env.recv(3)
    env.close()


def test_lost_scene_truncates_the_episodes_of_all_its_agents(build):
    """Two engines with three agents each, five environments: the first engine is killed."""
    with pytest.warns(UserWarning, match="has 3 agents: only 2 of the last engine's are played"):
        env = load_environment(build("agents")).make(5, 0)
    env.reset()
    step = env.recv(5)
    for number in range(3):
        if number == 2:
            os.kill(env._scenes[0].engine.link._process.pid, signal.SIGKILL)
        env.send(np.full(len(step.env_ids), 2), step.env_ids)
        step = env.recv()
    lost = step.env_ids < 3
    assert lost.sum() == 3 and (step.truncated == lost).all() and not step.reward[lost].any()
    assert (step.observation[lost].argmax(1) == 0).all() and (step.final_observation[lost].argmax(1) > 0).any()
    (notice,) = env.notices()
    assert "(engine 0): the engine was ended by SIGKILL" in notice
    env.close()


def test_image_observations(build):
    env = make(build("picture"))
    assert env.observation_space["camera"] == spaces.Box(0, 255, (2, 3, 4), np.uint8)
    observation, _ = env.reset()
    expected = np.arange(36).reshape(2, 3, 6)[:, :, :4]
    assert (observation["camera"] == expected).all() and observation["cells"].tolist() == cells(0)
    assert (env.step(2)[0]["camera"] == expected + 1).all()
    env.close()


def png(array):
    import io

    from PIL import Image
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_channels_of_image_observations():
    colours = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    data = png(colours)
    assert (read_image(data, (2, 4, 3), []) == colours).all()
    assert (read_image(data, (3, 2, 4), []) == colours.transpose(2, 0, 1)).all(), "channels first, from package 3 on"
    assert (read_image(data, (2, 4, 1), []) == colours[:, :, 1:2]).all(), "one grey channel is the mean of three"
    assert (read_image(data, (2, 4, 2), [1, 0, 0]) == np.stack(
        [np.rint(colours[:, :, 1:].mean(2)), colours[:, :, 0]], 2)).all(), "channels mapped to one place are averaged"
    assert (read_image(data + data, (2, 4, 6), []) == np.concatenate([colours, colours], 2)).all()
    for bad, shape in [(b"", (2, 4, 3)), (data[:-9], (2, 4, 3)), (data + b"x", (2, 4, 3)), (data, (3, 4, 3)),
                       (data, (2, 4, 6))]:
        with pytest.raises(EngineLost):
            read_image(bad, shape, [])


def test_invalid_masks_and_side_channels_are_reported():
    assert read_mask([], [2, 3]).tolist() == [1] * 5
    with pytest.raises(EngineLost, match="mask of 2 for 5"):
        read_mask([True, False], [2, 3])
    name = struct.pack("<i", 99) + b"x"
    for data in (b"\0" * 7, b"\0" * 16 + struct.pack("<i", 5), b"\0" * 16 + struct.pack("<i", -30),
                 unity_channels.STATISTICS.bytes_le + struct.pack("<i", len(name)) + name):
        with pytest.raises(EngineLost, match="side channels"):
            unity_channels.read_statistics(data)


BAD = {"dies": r"ended \(exit code 7\)", "hangs": "did not answer within 2 s", "garbage": "not a message of ML-Agents",
       "quits": "ended the connection", "other observation": "observation of 2 numbers", "channels": "side channels"}


@pytest.mark.parametrize("mode", BAD)
def test_lost_game_is_restarted(build, tmp_path, mode):
    env = make(build(f"{mode}|{tmp_path / 'once'}"), answer_timeout=2.0)
    env.reset()
    env.step(2)
    env.step(1)
    observation, reward, terminated, truncated, info = env.step(1)
    assert (observation.tolist(), reward, terminated, truncated) == (cells(1), 0.0, False, True)
    assert info["action_mask"].tolist() == [1, 1, 1]
    env.reset()
    assert [env.step(2)[2] for _ in range(4)] == [False] * 3 + [True]
    (notice,) = env.notices()
    import re
    assert re.search(BAD[mode], notice), notice
    env.close()


@pytest.mark.parametrize("mode, message", [
    ("dies at once", r"ended \(exit code 3\): Unity: no licence"),
    ("never connects", "has not connected to port .* within 1 s"),
    ("other version", r"speaks version 2\.0\.0 of ML-Agents' protocol, and Myosu 1\.5\.0.*this one is 2\.3\.0"),
    ("undescribed", "agents of Walk.team=0, a behaviour that it never described"),
])
def test_games_that_never_work_are_refused(build, capsys, mode, message):
    with pytest.raises(UserError, match=message):
        make(build(mode), connect_timeout=1.0 if mode == "never connects" else 20.0)


def test_an_older_minor_version_works(build):
    with pytest.warns(UserWarning, match=r"speaks version 1\.3\.0"):
        env = make(build("older"))
    env.reset()
    assert env.step(2)[0].tolist() == cells(1)
    env.close()


def test_wrong_paths_are_refused(tmp_path, capsys):
    (tmp_path / "plain").touch()
    (tmp_path / "Game_Data").mkdir()
    for name, message in [("nowhere", "The Unity build nowhere does not exist"),
                          ("plain", "is not executable: chmod +x"),
                          ("Game_Data", "is a folder: name the file in it")]:
        path = tmp_path / name if (tmp_path / name).exists() else name
        assert cli.run(["train", f"unity:{path}", "--env-steps", "10"]) == 2
        assert message in capsys.readouterr().err


def test_the_editor_is_waited_for_and_stays_connected(build):
    """All cases are in one test, because they use the same port."""
    with pytest.raises(UserError, match=r"nobody pressed Play in Unity's editor: it has not connected to port 5004"):
        make("unity:", connect_timeout=0.2)
    with socket.create_server(("127.0.0.1", 5004)), pytest.raises(UserError, match=r"Port 5004 .* is taken"):
        make("unity:")
    editor = subprocess.Popen([build("discrete").removeprefix("unity:"), "--mlagents-port", "5004"])
    try:
        environment = load_environment("unity:")  # makes an environment and closes it
        assert environment.most_at_once == 1
        for _ in range(2):
            env = environment.make(1, 0)
            env.reset()
            assert env.recv().observation[0].tolist() == cells(0)
            env.send(np.array([2]), np.array([0]))
            assert env.recv().observation[0].tolist() == cells(1)
            env.close()
        assert editor.poll() is None, "the editor is still running"
    finally:
        engine_env._close_kept()
        assert editor.wait(10) == 0


def test_each_worker_has_its_port_and_lost_builds_are_counted(build):
    name = build("discrete")
    alone = GymVectorEnv(name, 2)
    ports = [env._env.unwrapped.engine.link._server.port for env in alone._envs]
    assert len(set(ports)) == 2 and min(ports) >= 5005
    alone.reset()
    alone.recv()
    os.kill(alone._envs[1]._env.unwrapped.engine.link._process.pid, signal.SIGKILL)
    alone.send(np.array([2, 2]), np.arange(2))
    step = alone.recv()
    assert step.truncated.tolist() == [False, True] and step.observation.argmax(1).tolist() == [1, 0]
    assert "(environment 1): the engine was ended by SIGKILL" in alone.notices()[0]
    workers = WorkerVectorEnv(name, 2)
    workers.reset()
    workers.recv()
    for _ in range(4):
        workers.send(np.array([2, 2]), np.arange(2))
        step = workers.recv()
    assert step.terminated.all() and step.reward == pytest.approx([0.9, 0.9])
    workers.close()
    alone.close()


@pytest.mark.slow
def test_training_in_unity_reaches_the_optimum(build, tmp_path):
    """In a corridor of five cells a random player needs about nine steps; the optimum is four."""
    run = tmp_path / "run"
    assert cli.run(["train", build("discrete"), "--run", str(run), "--env-steps", "2000", "--num-envs", "2",
                    "--learning-rate", "1e-2", "--rollout-steps", "32", "--batch-size", "32", "--env-kwargs",
                    '{"no_graphics": true}', "--evaluate-every", "0", "--quiet"]) == 0
    assert myosu.evaluate(run, games=10)["mean_reward"] == pytest.approx(0.6)


# --- ML-Agents' own Python package


@needs_mlagents
@pytest.mark.parametrize("mode", ["discrete", "continuous", "branches", "picture"])
def test_myosu_and_ml_agents_see_the_same(build, mode):
    """Run the fake client once with ML-Agents and once with Myosu: observations, rewards, ends and masks are equal."""
    moves = ([2, 0, 2, 2, 2, 2, 2, 1] if mode != "continuous" else [1, -1, 1, 1, 1, 1, 1, 0])
    actions = [[move] + [0] * (mode in ("continuous", "branches")) for move in moves]
    name = build(mode)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answer = subprocess.run([mlagents_python.PYTHON, Path(__file__).parents[1] / "mlagents_walk.py",
                             name.removeprefix("unity:"), str(port),
                             *(",".join(map(str, action)) for action in actions)],
                            capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    theirs = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
    env = make(name)

    def told(observation, reward, ended, cut, info):
        parts = [observation["cells"], observation["camera"] / 255] if mode == "picture" else [observation]
        return {"observations": [np.round(part.astype(float), 3).tolist() for part in parts],
                "reward": round(reward, 4), "ended": ended, "cut": cut,
                "legal": info["action_mask"].tolist() if "action_mask" in info and not ended else None}

    observation, info = env.reset()
    ours = [told(observation, 0.0, False, False, info)]
    for action in actions:
        given = np.array(action, np.float32 if mode == "continuous" else np.int64)
        observation, reward, terminated, truncated, info = env.step(given if len(action) > 1 else given[0])
        ours.append(told(observation, reward, terminated or truncated, truncated, info))
        if ours[-1]["ended"]:
            ours.append(told(*env.reset()[:1], 0.0, False, False, env._last[1]))
    env.close()
    assert len(ours) == 1 + len(actions) + 1
    for one, other in zip(ours, theirs, strict=True):
        assert {key: value for key, value in one.items() if key != "observations"} == {
            key: value for key, value in other.items() if key != "observations"}
        for part, same in zip(one["observations"], other["observations"], strict=True):
            assert np.allclose(part, same, atol=2e-3)


@needs_mlagents
def test_ml_agents_stubs_read_our_messages(build):
    """The fake client uses ML-Agents' generated messages; the server uses Myosu's message descriptions."""
    env = make(build("picture", mlagents_python.PYTHON), arguments=["--stubs", "mlagents"], parameters={"gravity": 1.5})
    observation, info = env.reset()
    assert observation["cells"].tolist() == cells(0) and info["action_mask"].tolist() == [0, 1, 1]
    answers = [env.step(2) for _ in range(4)]
    assert [answer[2] for answer in answers] == [False] * 3 + [True] and answers[0][4]["statistics"]["gravity"] == 1.5
    env.close()


@needs_mlagents
def test_protocol_fields_equal_those_of_ml_agents():
    """Numbers, types and names of all fields in ``PROTOCOL``."""
    from myosu.envs.engines.unity_messages import PROTOCOL, message_class
    ours = {name: {field.name: [field.number, field.type if field.type != 14 else 5, field.is_repeated]
                   for field in message_class(name).DESCRIPTOR.fields} for name in PROTOCOL}
    code = ("import sys, json; sys.path.insert(0, sys.argv[1]); import fake_unity\n"
            "find = fake_unity.stubs('mlagents')\n"
            "def fields(name):\n"
            "    place = {'ListAgentInfoProto': 'UnityRLOutputProto', 'ListAgentActionProto': 'UnityRLInputProto',\n"
            "             'FloatData': 'ObservationProto'}.get(name)\n"
            "    kind = getattr(find(place), name) if place else find(name)\n"
            "    return {f.name: [f.number, 5 if f.type == 14 else f.type, f.label == 3]\n"
            "            for f in kind.DESCRIPTOR.fields}\n"
            "print(json.dumps({name: fields(name) for name in sys.argv[2:]}))")
    answer = subprocess.run([mlagents_python.PYTHON, "-c", code, Path(__file__).parents[1], *PROTOCOL],
                            capture_output=True, text=True, check=True)
    theirs = json.loads(answer.stdout)
    for name, fields in ours.items():
        assert fields == {field: theirs[name][field] for field in fields}, name
