"""Godot games: the protocol with a fake game, valid and invalid, and a project in Godot itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

import fake_godot
import myosu
from myosu import cli, trust
from myosu.envs.engines import engine_env
from myosu.envs.engines.godot import GodotEnv
from myosu.envs.engines.process import EngineLost
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.making import EnvMaker, absolute_name
from myosu.envs.registry import load_environment
from myosu.envs.scenes import SceneVectorEnv
from myosu.envs.workers import WorkerVectorEnv
from myosu.errors import UserError

PROJECT = Path(__file__).parents[2] / "examples" / "godot_catch"
needs_godot = pytest.mark.skipif(shutil.which("godot3-server") is None,
                                 reason="needs Godot: apt-get install godot3-server")


@pytest.fixture
def game(tmp_path):
    """A function that creates an executable fake game (``fake_godot``)."""
    def make(mode: str) -> str:
        file = tmp_path / f"game-{mode.partition('|')[0].replace(' ', '-')}"
        file.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{fake_godot.__file__}' '{mode}' \"$@\"\n")
        file.chmod(0o755)
        return f"godot:{file}"
    return make


def make(name: str, **kwargs) -> GodotEnv:
    return EnvMaker(name, {"answer_timeout": 1.0, **kwargs})()


def test_spaces_rewards_and_ends(game):
    env = make(game("plain"))
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert env.action_space == spaces.Discrete(2)
    observation, _ = env.reset(seed=5)  # 5 % 3 = 2
    assert observation.tolist() == [2, 0]
    answers = [env.step(np.int64(action)) for action in (1, 0, *[1] * 7)]
    assert [answer[1] for answer in answers] == [1, 0, *[1] * 7]
    assert [answer[2] for answer in answers] == [False] * 8 + [True] and not any(answer[3] for answer in answers)
    assert answers[-1][0].tolist() == [10, 9]
    env.reset()
    for _ in range(20):
        *_, terminated, truncated, _ = env.step(0)
    assert truncated and not terminated, "the game reported a truncation"
    assert env.notices() == []
    env.close()


def test_parts_and_continuous_actions(game):
    env = make(game("parts"))
    assert env.observation_space == spaces.Dict({"camera_2d": spaces.Box(0, 255, (2, 2, 1), np.uint8),
                                                 "kind": spaces.Discrete(3)})
    assert env.action_space == spaces.Box(-1, 1, (3,), np.float32)  # gas, turn
    observation, _ = env.reset(seed=1)
    assert observation["camera_2d"].ravel().tolist() == [1, 1, 2, 255] and observation["kind"] == 2
    assert [env.step(np.array([gas, -1, 1], np.float32))[1] for gas in (1, 0)] == [1, 0]
    env.close()
    env = make(game("branches"))
    assert env.action_space == spaces.MultiDiscrete([3, 2])  # jump, step
    env.reset()
    assert [env.step(np.array(action))[1] for action in ([2, 0], [0, 1])] == [0, 1]
    env.close()
    env = make(game("mixed"))
    assert env.action_space == spaces.Tuple((spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(2)))  # gas, step
    env.reset()
    assert [env.step((np.array([0.5], np.float32), np.int64(step)))[1] for step in (0, 1)] == [0, 1]
    env.close()


def walk(env, moves, ids, count=1):
    """Send the same moves ``count`` times, and return the last step."""
    for _ in range(count):
        env.send(np.array(moves), np.array(ids))
        step = env.recv()
    return step


def test_all_agents_of_a_scene_are_environments(game, tmp_path):
    """Each agent acts by its own actions and begins its own episodes, with its own seed."""
    environment = load_environment(game("scene"))
    assert environment.agents == 3 and environment.most_at_once == 3 * os.cpu_count()
    with pytest.warns(UserWarning, match="has 3 agents: only 1 of the last engine's are played"):
        env = environment.make(4, 0)
    assert isinstance(env, SceneVectorEnv)
    env.reset()
    first = env.recv(4)
    seeds = [env._envs[index].seed_of(0) % 3 for index in range(4)]
    assert first.observation.tolist() == [[seed, 0] for seed in seeds] and len(set(seeds)) > 1
    step = walk(env, [1, 0, 0, 1], range(4), 3)
    assert step.observation.tolist() == [[seeds[0] + 3, 3], [seeds[1], 3], [seeds[2], 3], [seeds[3] + 3, 3]]
    assert step.reward.tolist() == [1, 0, 0, 1]
    step = walk(env, [1, 0, 0, 0], range(4), 7 - seeds[0])
    assert step.terminated.tolist() == [True, False, False, False] and step.final_observation[0].tolist()[0] == 10
    assert step.observation.tolist()[:2] == [[env._envs[0].seed_of(1) % 3, 0], [seeds[1], 10 - seeds[0]]]
    # An agent that is sent no action stands still; a resumed run truncates the running episodes.
    assert walk(env, [1], [1]).env_ids.tolist() == [1]
    state = env.state_dict()
    env.load_state_dict(state)
    step = walk(env, [1, 1, 1, 1], range(4))
    assert step.truncated.all() and step.final_observation[1, 0] == seeds[1] + 1 and not step.observation[:, 1].any()
    assert "the 4 unfinished episodes were truncated" in env.notices()[0]
    assert (walk(env, [1, 1, 1, 1], range(4)).observation[:, 1] == 1).all()
    # All episodes of a lost engine are truncated, those of the other engine are not.
    os.kill(env._scenes[0].engine.link._process.pid, signal.SIGKILL)
    step = walk(env, [1, 1, 1, 1], range(4))
    assert step.truncated.tolist() == [True] * 3 + [False] and step.observation[:, 1].tolist() == [0, 0, 0, 2]
    assert step.reward.tolist() == [0, 0, 0, 1] and (step.final_observation[:3, 1] == 1).all()
    assert [notice.startswith(f"{game('scene')} (engine 0): ") for notice in env.notices()] == [True]
    env.close()


def test_agents_that_begin_their_episodes_by_themselves(game):
    """As those of Godot RL's plugin: the next episode begins one step after the end, while the others go on."""
    env = load_environment(game("plugin scene"), {"max_episode_steps": 12}).make(3, 0)
    env.reset()
    begin = int(env.recv(3).observation[0, 0])
    step = walk(env, [1, 0, 0], range(3), 9 - begin)
    env.send(np.array([1, 0, 0]), np.arange(3))
    assert env.recv().env_ids.tolist() == [1, 2], "the next observation of the first is not known yet"
    env.send(np.array([0, 0]), np.array([1, 2]))
    step = env.recv()
    assert sorted(step.env_ids.tolist()) == [0, 1, 2]
    row = step.env_ids.tolist().index(0)
    assert step.terminated[row] and step.reward[row] == 1 and step.final_observation[row].tolist()[0] == 10
    assert step.observation[row].tolist() == [0, 1]
    # They cannot be reset from outside: after a limit of Myosu the next episode goes on from there.
    step = walk(env, [0, 0, 0], step.env_ids, 12 - (11 - begin))
    cut = np.isin(step.env_ids, [1, 2])
    assert (step.truncated == cut).all() and (step.observation[cut, 1] == 12).all()
    env.close()
    env = make(game("plugin scene"))
    env.reset()
    assert [env.step(1)[0].tolist() for _ in range(2)] == [[1, 1], [2, 2]] and env.engine.agents == 3
    env.close()


def test_one_policy_of_several_is_trained(game):
    with pytest.raises(UserError, match=r"several policies\. There are: cat, mouse\. Choose"):
        make(game("policies"))
    with pytest.raises(UserError, match=r"no policy 'dog'\. There are: cat, mouse"):
        make(game("policies"), policy="dog")
    with pytest.raises(UserError, match=r"agents have different spaces.*different policy names"):
        make(game("different spaces"))
    env = load_environment(game("policies"), {"policy": "cat"}).make(2, 0)
    env.reset()
    before = env.recv().observation[:, 0]
    assert (walk(env, [0, 1], [0, 1]).observation[:, 0] - before).tolist() == [0, 1]
    env.close()
    env = make(game("policies"), policy="mouse")
    assert env.action_space == spaces.Box(-1, 1, (2,), np.float32) and env.engine.agents == 1
    env.close()


def test_wrappers_need_one_agent_for_each_engine(game):
    wrapped = {"wrappers": [{"wrapper": "gymnasium.wrappers:NormalizeReward"}]}
    environment = load_environment(game("scene"), wrapped)
    with pytest.raises(UserError, match="--env-workers synchronous"):
        environment.make(3, 0)


BAD = ("dies", "hangs", "no json", "long", "half", "other message", "no reward", "other observation", "hangs up")


@pytest.mark.parametrize("mode", BAD)
def test_lost_game_is_restarted(game, tmp_path, mode):
    """After any kind of failure the episode is truncated, and the next one is played in a new process."""
    env = make(game(f"{mode}|{tmp_path / 'once'}"), answer_timeout=0.5)
    first = env.engine.link._process
    env.reset(seed=0)
    env.step(1)
    env.step(1)
    observation, reward, terminated, truncated, _ = env.step(1)
    assert (observation.tolist(), reward, terminated, truncated) == ([2, 2], 0.0, False, True)
    assert first._process.poll() is not None, "the lost process is gone"
    env.reset(seed=0)
    assert [env.step(1)[2:4] for _ in range(10)] == [(False, False)] * 9 + [(True, False)]
    (notice,) = env.notices()
    assert notice.endswith("; it was restarted.")
    env.close()


def test_lost_games_are_counted_and_their_episodes_truncated(game, tmp_path):
    for index, kind in enumerate((GymVectorEnv, WorkerVectorEnv)):
        env = kind(game(f"dies|{tmp_path / f'once{index}'}"), 1)
        env.reset()
        env.recv()
        for _ in range(4):
            env.send(np.array([1]), np.array([0]))
            step = env.recv()
            if step.truncated[0]:
                assert step.final_observation[0, 1] == 2 and step.observation[0, 1] == 0 and step.reward[0] == 0
        (notice,) = env.notices()
        assert "(environment 0): " in notice and "exit code 7" in notice and env.notices() == []
        env.close()
    assert env.restarts == 1


@pytest.mark.parametrize("mode, message", [
    ("dies at once", "the engine ended \\(exit code 3\\): the scene is broken"),
    ("never connects", "has not connected to port .* within 1 s"),
    ("nonsense at once", "b'hello', which is not JSON"),
    ("no spaces", "describes its observations as {}"),
])
def test_games_that_never_work_are_refused(game, mode, message):
    with pytest.raises(UserError, match=message):
        make(game(mode), connect_timeout=1.0)


def test_game_that_is_always_lost_ends_the_run(game):
    def gone():
        raise EngineLost("the engine is gone")

    env = make(game("plain"))
    env.reset()
    env.engine._connect = gone
    os.kill(env.engine.link._process.pid, signal.SIGKILL)
    assert env.step(0)[3]
    with pytest.raises(UserError, match="is gone, 3 times in a row"):
        env.reset()


def test_wrong_paths_are_refused(tmp_path, capsys, monkeypatch):
    plain = tmp_path / "game.x86_64"
    plain.touch()
    for name, message in [("godot:nowhere", "The Godot project nowhere does not exist"),
                          (f"godot:{tmp_path}", "has no project.godot"),
                          (f"godot:{plain}", "is not executable")]:
        assert cli.run(["train", name, "--env-steps", "10"]) == 2
        assert message in capsys.readouterr().err
    project = tmp_path / "project.godot"
    project.write_text("config_version=3\n")
    with pytest.raises(UserError, match="must be 4"):
        make(f"godot:{tmp_path}")
    project.write_text("config_version=4\n")
    monkeypatch.setenv("MYOSU_GODOT", "no-such-godot")
    with pytest.raises(UserError, match="needs Godot 3: no-such-godot is not on PATH"):
        make(f"godot:{tmp_path}")
    with pytest.raises(UserError, match="unexpected keyword argument 'engin'"):
        make(f"godot:{tmp_path}", engin="")


def test_the_editor_is_waited_for_and_stays_connected(game):
    """All cases are in one test, because they use the same port."""
    with pytest.raises(UserError, match=r"nobody started the game in Godot's editor.* 11008 within 0.2 s"):
        make("godot:", connect_timeout=0.2)
    with socket.create_server(("127.0.0.1", 11008)), pytest.raises(UserError, match=r"Port 11008 .* is taken"):
        make("godot:")
    editor = None
    try:
        with ThreadPoolExecutor() as pool:  # listen first, because the game does not retry
            found = pool.submit(load_environment, "godot:")
            for _ in range(20):
                time.sleep(0.5)
                if editor is None or editor.poll() is not None:
                    editor = subprocess.Popen([game("plain").removeprefix("godot:"), "--port=11008"])
                if found.done():
                    break
        env = found.result().make(1, 0)
        env.reset()
        env.recv()
        env.send(np.array([1]), np.array([0]))
        assert env.recv().reward[0] == 1
        env.close()
        assert editor.poll() is None, "the game goes on"
    finally:
        engine_env._close_kept()
        assert editor is not None and editor.wait(10) == 0


def test_projects_need_trust_like_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "game" / ".import").mkdir(parents=True)
    (tmp_path / "game" / "project.godot").write_text("config_version=4")
    source = trust.source_of("godot:game")
    assert source == f"godot:{tmp_path / 'game'}" == absolute_name("godot:game")
    assert trust.exists(source) and not trust.exists("godot:/nowhere") and trust.source_of("godot:") is None
    before = trust.digest(source)
    (tmp_path / "game" / ".import" / "cache").write_text("x")
    assert trust.digest(source) == before
    with_script = trust.source_of("godot:game", {"arguments": ["--script", "other.gd"]})
    assert with_script == f"{source} with arguments [\"--script\", \"other.gd\"]" and trust.exists(with_script)
    assert trust.digest(with_script) != before
    (tmp_path / "game" / "evil.gd").write_text("x")
    assert trust.digest(source) != before != ""
    monkeypatch.chdir(tmp_path / "game")
    assert trust.source_of("godot:.") == source
    assert trust.source_of(f"unity:{tmp_path}/x.sh") == f"unity:{tmp_path}/x.sh" and trust.source_of("unity:") is None


def test_changed_run_folder_starts_no_engine_without_trust(tmp_path, monkeypatch, capsys, game):
    """Its folder names another project or other arguments than the user agreed to."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run, name = tmp_path / "run", game("plain")
    command = ["train", name, "--run", str(run), "--env-steps", "64", "--num-envs", "1", "--rollout-steps", "32",
               "--batch-size", "32", "--evaluate-every", "0", "--quiet"]
    assert cli.run(command) == 0
    config = json.loads((run / "config.json").read_text())
    for changes in ({"game": game("dies")}, {"env_kwargs": {"arguments": ["--script", "evil.gd"]}}):
        monkeypatch.setattr(trust, "_agreed", set())
        (run / "config.json").write_text(json.dumps(config | changes))
        assert cli.run(["train", "--resume", str(run), "--env-steps", "128", "--quiet"]) == 2
        assert "If you trust it, add --trust" in capsys.readouterr().err
    monkeypatch.setattr(trust, "_agreed", set())
    (run / "config.json").write_text(json.dumps(config))
    assert cli.run(["train", "--resume", str(run), "--env-steps", "128", "--quiet"]) == 0


# --- in Godot itself


@needs_godot
def test_example_project_runs_in_godot():
    """Episodes are deterministic given the seed, paddles catch balls, and the process ends with its environment."""
    env = make(f"godot:{PROJECT}")
    pid = env.engine.link._process.pid
    courses = []
    for seed in (3, 3, 4):
        observation, _ = env.reset(seed=seed)
        history = [observation]
        while True:
            # move the paddle below the ball; both positions are in [-1, 1]
            move = 1 if observation[1] - observation[0] > 0.1 else -1 if observation[1] - observation[0] < -0.1 else 0
            observation, reward, terminated, truncated, _ = env.step(1 + move)
            history.append((*observation, reward))
            if terminated or truncated:
                break
        courses.append([list(map(float, step)) for step in history])
    assert courses[0] == courses[1] != courses[2]
    assert sum(step[4] for step in courses[0][1:]) == 5 and terminated and len(courses[0]) == 43
    env.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@needs_godot
def test_killed_and_stopped_engines_are_replaced(tmp_path):
    """One engine is killed and then the other one stopped during episodes; the environments continue."""
    env = load_environment(f"godot:{PROJECT}", {"answer_timeout": 1.0}).make(2, 0)
    env.reset()
    env.recv()
    lost = 0
    for k in range(60):
        if k in (20, 40):
            os.kill(env._envs[k // 20 - 1]._env.unwrapped.engine.link._process.pid,
                    signal.SIGKILL if k == 20 else signal.SIGSTOP)
        env.send(np.array([1, 1]), np.arange(2))
        lost += env.recv().truncated.sum()
    notices = env.notices()
    assert lost == len(notices) == 2
    assert "was ended by SIGKILL" in notices[0] and "did not answer within 1 s" in notices[1]
    env.close()


@needs_godot
def test_agents_of_a_scene_in_godot_are_independent():
    """Four paddles in one engine: each one's episode is that of the paddle that is alone, with the same seed."""
    env = load_environment(f"godot:{PROJECT}", {"arguments": ["four.tscn"]}).make(4, 0)
    env.reset()
    courses = [[observation.tolist()] for observation in env.recv(4).observation]
    for number in range(43):
        moves = [(number // 3 + index) % 3 for index in range(4)]
        step = walk(env, moves, range(4))
        for history, observation, reward in zip(courses, step.observation, step.reward, strict=True):
            history.append([*observation.tolist(), float(reward)])
    assert step.env_ids.tolist() == [0, 1, 2, 3] and len({history[5][1] for history in courses}) == 4
    alone = make(f"godot:{PROJECT}")
    for index in (0, 3):
        history = [alone.reset(seed=env._envs[index].seed_of(0))[0].tolist()]
        while len(history) < 43:
            observation, reward, ended, *_ = alone.step(((len(history) - 1) // 3 + index) % 3)
            history.append([*observation.tolist(), reward])
        assert ended and history[:42] == courses[index][:42] and history[42][4] == courses[index][42][4]
        assert courses[index][42][:4] == alone.reset(seed=env._envs[index].seed_of(1))[0].tolist()
    env.close()
    alone.close()


@needs_godot
@pytest.mark.slow
def test_training_in_godot_learns_to_catch(tmp_path):
    """Four agents in one engine. With five balls, a random player's return is about −2.7 and a perfect player's is
    5."""
    run = tmp_path / "run"
    assert cli.run(["train", f"godot:{PROJECT}", "--run", str(run), "--env-steps", "12000", "--num-envs", "4",
                    "--learning-rate", "1e-3", "--evaluate-every", "0", "--quiet", "--env-kwargs",
                    '{"arguments": ["four.tscn"]}']) == 0
    assert myosu.evaluate(run, games=20)["mean_reward"] > 2.0
    config = json.loads((run / "config.json").read_text())
    assert config["game"] == f"godot:{PROJECT}" and list(config["code"]) == [
        f"godot:{PROJECT} with arguments [\"four.tscn\"]"]


@needs_godot
def test_engines_end_with_the_process_that_started_them(tmp_path):
    code = (f"import myosu, time; env = myosu.make('godot:{PROJECT}', 1); env.reset(); env.recv()\n"
            "print(env._envs[0]._env.unwrapped.engine.link._process.pid, flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        os.kill(pid, signal.SIGSTOP)  # so that it cannot notice that the connection is closed
        process.kill()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
