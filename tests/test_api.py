"""``import myosu``: training on whatever is given, agents that act, callbacks, and what a program finds unchanged."""

import dataclasses
import functools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from threadpoolctl import threadpool_info, threadpool_limits

import myosu
from myosu import cli
from myosu.envs import python_objects
from myosu.games import tictactoe
from myosu.training.start import configure
from toy_runs import TOY, last_weights, same_weights

TINY = {"env_steps": 200, "num_envs": 2, "rollout_steps": 32, "batch_size": 32, "evaluate_every": 0, "quiet": True}
TOY_TINY = {"updates": 10, "evaluate_every": 0, "actors": 0, "quiet": True}


class Line(gymnasium.Env):
    """Walk to the right end. Its actions are 1 and 2, its observations a dictionary."""

    observation_space = spaces.Dict({"at": spaces.Box(0, 1, (1,), np.float32), "odd": spaces.Discrete(2)})
    action_space = spaces.Discrete(2, start=1)

    def __init__(self, length=4):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self.look(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.at = max(0, self.at + (1 if action == 2 else -1))
        return self.look(), float(self.at == self.length), self.at == self.length, False, {}

    def look(self):
        return {"at": np.array([self.at / self.length], np.float32), "odd": self.at % 2}


def python(script, *arguments, cwd=None, code=0):
    """The output of a program on standard input, without a file of its own."""
    done = subprocess.run([sys.executable, "-", *map(str, arguments)], input=script, capture_output=True, text=True,
                          cwd=cwd, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_import_is_fast_and_loads_no_heavy_modules():
    heavy = ("torch", "numba", "numpy", "gymnasium", "multiprocessing")
    out = python(f"import sys, myosu; print([name for name in {heavy} if name in sys.modules], dir(myosu))")
    assert out.startswith("[]") and all(name in out for name in ("train", "load", "evaluate", "check", "make", "games"))
    assert "othello" in myosu.games()
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        myosu.trian  # noqa: B018


def test_presets_and_default_algorithm_equal_the_commands(tmp_path):
    """PPO for environments and games for one, MuZero for games for two; with the same settings to the last field."""
    for game, algorithm in (("CartPole-v1", "ppo"), ("snake", "ppo"), ("tictactoe", "muzero")):
        run = tmp_path / game
        assert cli.run(["train", game, "--run", str(run), "--updates", "1", "--evaluate-every", "0", "--seed", "5",
                        "--quiet", "--env-steps", "1"]) == 0
        told = json.loads((run / "config.json").read_text())
        asked = configure(game, settings={"updates": 1, "evaluate_every": 0, "seed": 5, "env_steps": 1})
        assert told["algorithm"] == asked.algorithm == algorithm
        assert dataclasses.asdict(asked.train) == told["train"]
        decided = {name for name, value in told["algorithm_config"].items() if value != asked.algorithm_config[name]}
        assert decided <= {"device", "precision", "learner_precision"}, "only these depend on the machine"
    assert configure("CartPole-v1").train.minutes == 60


def test_an_unknown_setting_is_named():
    with pytest.raises(myosu.UserError, match=r"ppo has no setting 'learning_rat'. Did you mean 'learning_rate'\?"):
        myosu.train("CartPole-v1", learning_rat=1)
    with pytest.raises(myosu.UserError, match="needs an environment"):
        myosu.train()
    with pytest.raises(myosu.UserError, match="leave out algorithm"):
        myosu.train(resume="nowhere", algorithm="ppo")


@pytest.mark.parametrize(("env", "game"), [
    ("CartPole-v1", "CartPole-v1"),
    (Line, "python:test_api:Line"),
    (lambda: Line(5), "python:test_api:lambda"),
    (functools.partial(Line, 3), "python:test_api:Line"),
    (gymnasium.make("CartPole-v1"), "CartPole-v1"),
    (gymnasium.wrappers.RescaleObservation(gymnasium.make("Pendulum-v1"), -1, 1), "python:gymnasium:Pendulum-v1"),
])
def test_accepted_kinds_of_environments(tmp_path, env, game):
    run = myosu.train(env, "ppo", run=tmp_path / "run", **TINY)
    config = json.loads((run.folder / "config.json").read_text())
    # Another object of the same name gets a number, so that each name stays that of one object.
    assert run.env_steps >= 200 and config["game"].removesuffix("-2") == game
    assert myosu.evaluate(run, games=2)["games"] == 2


def test_games_are_given_as_module_object_or_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from myosu.games.tictactoe import *\nfrom myosu.games import tictactoe\nfrom dataclasses import "
                    "replace\nGAME = replace(tictactoe.GAME, name='mine')\n")
    other = dataclasses.replace(tictactoe.GAME, name="other")
    for env, game in ((tictactoe, "tictactoe"), (tictactoe.GAME, "tictactoe"), (file, str(file)),
                      (other, "python:myosu.games.tictactoe:other")):
        run = myosu.train(env, TOY, run=tmp_path / f"run {Path(game).stem} {id(env)}", **TOY_TINY)
        assert json.loads((run.folder / "config.json").read_text())["game"] == game
    assert myosu.evaluate(run, games=4)["game"] == "other"


def test_impossible_environments_are_refused(tmp_path):
    with pytest.raises(myosu.UserError, match=r"cannot copy this one. Give its class"):
        myosu.train(Line())
    with pytest.raises(myosu.UserError, match="env = 7: give a name"):
        myosu.train(7)
    with pytest.raises(myosu.UserError, match="The module json has no GAME"):
        myosu.train(json)
    lock = threading.Lock()
    with pytest.raises(myosu.UserError, match="lambda cannot be sent to another process: TypeError"):
        myosu.train(lambda: Line(3 if lock else 4), "dqn", run=tmp_path / "run", actors=1, env_steps=100)


SCRIPT = """
import sys, gymnasium, numpy as np
from gymnasium import spaces
import myosu
class Mine(gymnasium.Env):
    observation_space, action_space = spaces.Box(0, 1, (1,), np.float32), spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}
    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), float(action), self.t == 5, False, {}
gymnasium.register("Mine-v3", entry_point=Mine)
for env in (Mine, "Mine-v3"):
    run = myosu.train(env, "dqn", run=f"{sys.argv[1]}/{len(str(env))}", actors=1, env_workers="synchronous", num_envs=2,
                      env_steps=100, learning_starts=20, evaluate_every=20, evaluation_games=4, quiet=True)
    print(run.reason, len(run.evaluations) > 0, run.agent().act(np.zeros(1, np.float32)) in (0, 1))
"""


def test_a_script_from_standard_input_trains_with_processes(tmp_path):
    """It has no file and no ``if __name__ == "__main__"``, and what it defines or registers exists nowhere else."""
    assert python(SCRIPT, tmp_path).splitlines() == ["100 env steps True True"] * 2


def test_resuming_a_python_object_needs_it_again(tmp_path):
    run = myosu.train(Line, "ppo", run=tmp_path / "run", **TINY)
    out = python("import sys, myosu\nmyosu.load(sys.argv[1])", run.folder, code=1)
    assert "Pass it again" in out and "test_api:Line was passed to train() as a Python object" in out
    assert cli.run(["train", "--resume", str(run.folder), "--env-steps", "400", "--quiet"]) == 0, "known here"
    kept = dict(python_objects._objects)
    try:
        python_objects._objects.clear()
        assert cli.run(["train", "--resume", str(run.folder), "--env-steps", "800"]) == 2
        with pytest.raises(myosu.UserError, match="made with python:test_api:Line, not with CartPole-v1"):
            myosu.load(run, env="CartPole-v1")
        same = functools.partial(Line, 4)  # by another name
        assert myosu.train(same, resume=run, env_steps=900, quiet=True).env_steps >= 900
        with pytest.raises(myosu.UserError, match="have changed since this run was made"):
            myosu.load(run, env=lambda: gymnasium.make("CartPole-v1"))
    finally:
        python_objects._objects.update(kept)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    return myosu.train(Line, "ppo", run=tmp_path_factory.mktemp("line") / "run", **{**TINY, "env_steps": 3000})


def test_an_agent_acts_on_one_and_on_many(line, tmp_path):
    agent, env = line.agent(), Line()
    observation, _ = env.reset()
    for _ in range(4):
        observation, reward, terminated, _, _ = env.step(agent.act(observation))
    assert terminated and reward == 1, "act uses the environment's form: dictionaries, actions from 1"
    many = {"at": np.linspace(0, 0.75, 4, dtype=np.float32)[:, None], "odd": np.array([0, 1, 0, 1])}
    listed = [{"at": many["at"][i], "odd": many["odd"][i]} for i in range(4)]
    assert agent.act(many).tolist() == agent.act(listed).tolist() == [1] * 4, "actions of a batch count from 0"
    assert agent.act(many, [True, False]).tolist() == [0] * 4
    vector = myosu.make(Line, 3)
    vector.reset()
    assert agent.act(vector.recv().observation).tolist() == [1] * 3
    with pytest.raises(myosu.UserError, match=r"the observation has no 'odd'"):
        agent.act({"at": np.zeros(1, np.float32)})
    with pytest.raises(myosu.UserError, match=r"legal_actions has the shape \[3\]: it must be \[2\]"):
        agent.act(many, [True] * 3)
    saved = agent.save(tmp_path / "agent")
    assert myosu.load(saved).act(many).tolist() == [1] * 4
    with pytest.raises(myosu.UserError, match="exists already"):
        agent.save(saved)


def test_continuous_actions_stay_within_their_bounds(tmp_path):
    agent = myosu.train("Pendulum-v1", "ppo", run=tmp_path / "run", **TINY).agent()
    one = agent.act(np.array([1, 0, 0], np.float32))
    agent.agent.act = lambda observation, *_: (np.full((len(observation), 1), 9.0, np.float32), None)
    assert one.shape == (1,) and one.dtype == np.float32 and abs(one[0]) <= 2
    assert agent.act(np.array([1, 0, 0], np.float32)) == 2
    assert agent.act(np.eye(3, dtype=np.float32)).tolist() == [[2]] * 3


def test_a_game_for_two_needs_its_legal_actions(tmp_path):
    run = myosu.train("tictactoe", TOY, run=tmp_path / "run", **TOY_TINY)
    agent, env = myosu.load(run), myosu.make("tictactoe", 2)
    env.reset()
    step = env.recv()
    with pytest.raises(myosu.UserError, match="pass legal_actions"):
        agent.act(step.observation)
    action = agent.act(step.observation, step.legal_actions)
    assert action.shape == (2,) and agent.act(step.observation[0], step.legal_actions[0]) == action[0]
    with pytest.raises(myosu.UserError, match=r"The observation has the shape \[5\]: it must be \[\d, 3, 3\]"):
        agent.act(np.zeros(5, np.uint8), step.legal_actions[0])
    match = myosu.evaluate(agent, opponent=run, games=4, opening_plies=0)
    assert match["mean_reward"] == 0 and match["opponent"] == str(run.folder)


class Repeat(gymnasium.Env):
    """At the first step a bit is shown, at the third it must be said."""

    observation_space, action_space = spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.bit = 0, int(self.np_random.integers(2))
        return np.array([2 * self.bit - 1], np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == 3
        return np.zeros(1, np.float32), float(over and action == self.bit), over, False, {}


def test_a_recurrent_agent_keeps_its_state_between_calls(tmp_path):
    run = myosu.train(Repeat, "ppo", run=tmp_path / "run", env_steps=12_000, num_envs=16, rollout_steps=24,
                      batch_size=192, learning_rate=0.01, lstm_size=16, sequence_length=12, evaluate_every=0,
                      quiet=True)
    agent = run.agent()
    shown = np.array([[1], [-1], [1]], np.float32)
    agent.act(shown)
    agent.act(np.zeros((3, 1), np.float32))
    assert agent.act(np.zeros((3, 1), np.float32)).tolist() == [1, 0, 1]
    with pytest.raises(myosu.UserError, match=r"state of 3 episodes, but got 1 observations: call reset\(\)"):
        agent.act(np.zeros(1, np.float32))
    agent.reset()
    said = []
    for bit in (1, 0):
        for t in range(3):
            said.append(agent.act(np.array([2 * bit - 1 if t == 0 else 0], np.float32), starts=t == 0))
    assert said[2::3] == [1, 0]


# --- what a program finds unchanged


def test_training_restores_signals_threads_and_random_state(tmp_path):
    handlers, blas_threads = [], []

    def count_blas_threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    class Look(myosu.Callback):
        def on_checkpoint(self, path):
            handlers.append(signal.getsignal(signal.SIGINT))
            blas_threads.append(count_blas_threads())

    torch.set_num_threads(2)
    np.random.seed(3)
    random.seed(3)
    torch.manual_seed(3)
    before = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()
    threads = os.environ.pop("OMP_NUM_THREADS", None)
    try:
        with threadpool_limits(2, user_api="blas"):
            myosu.train("tictactoe", TOY, run=tmp_path / "run", callbacks=[Look()], **TOY_TINY)
            assert count_blas_threads() == [2] * len(blas_threads[0])
        assert blas_threads[0] == [1] * len(blas_threads[0])  # or it is many times slower where other programs run
        assert torch.get_num_threads() == 2 and "OMP_NUM_THREADS" not in os.environ
    finally:
        torch.set_num_threads(1)
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads
    assert (np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()) == before
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_training_works_in_a_thread(tmp_path):
    """The same weights as in the main thread; only there can signals be handled."""
    runs, errors = [], []

    def work():
        runs.append(myosu.train("tictactoe", TOY, run=tmp_path / "thread", deterministic=True, **TOY_TINY))
        try:
            myosu.train("tictactoe", TOY, run=tmp_path / "no", handle_signals=True, **TOY_TINY)
        except myosu.UserError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    myosu.train("tictactoe", TOY, run=tmp_path / "main", deterministic=True, **TOY_TINY)
    assert same_weights(last_weights(tmp_path / "thread"), last_weights(tmp_path / "main"))
    assert "only in a program's main thread" in errors[0]


class Wanders(Line):
    """Goes to another folder when it is made, and to a third when it begins."""

    def __init__(self):
        super().__init__()
        os.chdir("/")

    def reset(self, **kwargs):
        os.chdir("/tmp")
        return super().reset(**kwargs)


@pytest.mark.parametrize("named", [True, False])
def test_an_environment_that_changes_directory_moves_no_run(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    run = myosu.train(Wanders, "ppo", run="here" if named else None, deterministic=named,
                      **{**TINY, "evaluate_every": 10, "evaluation_games": 4})
    assert run.folder.parent == (tmp_path if named else tmp_path / "runs")
    assert {"config.json", "checkpoints", "metrics.jsonl", "games.jsonl", "tensorboard"} <= {
        path.name for path in run.folder.iterdir()}
    assert run.evaluations and run.agent().save(run.folder / "agent").is_dir()
    monkeypatch.chdir(tmp_path)
    again = myosu.train(resume=run.folder.relative_to(tmp_path), env_steps=300, quiet=True)
    assert again.folder == run.folder and again.env_steps >= 300


# --- callbacks


class Log(myosu.Callback):
    def __init__(self, **answers):
        self.heard, self.answers = [], answers

    def on_record(self, record):
        self.heard.append(("record", record))
        return self.answers.get("record")

    def on_evaluation(self, evaluation):
        self.heard.append(("evaluation", evaluation["update"]))
        return self.answers.get("evaluation")

    def on_checkpoint(self, path):
        assert (path / "manifest.json").is_file()
        self.heard.append(("checkpoint", path.name))
        return self.answers.get("checkpoint")


LOUD = {"updates": 30, "evaluate_every": 10, "evaluation_games": 4, "deterministic": True, "quiet": True}


def test_callbacks_receive_all_events(tmp_path):
    log = Log()
    run = myosu.train("tictactoe", TOY, run=tmp_path / "run", callbacks=[log], **LOUD)
    assert run.reason == "30 updates"
    assert [news for news in log.heard if news[0] != "record"] == [
        pair for update in (10, 20, 30) for pair in (("checkpoint", f"update-{update:08d}"), ("evaluation", update))]
    record = log.heard[-1][1]
    assert record["update"] == 30 and {"loss/value", "selfplay/length", "seconds"} <= record.keys()


@pytest.mark.parametrize("what", ["evaluation", "checkpoint"])
def test_a_callback_returning_false_ends_the_run_cleanly(tmp_path, what):
    log = Log(**{what: False})
    run = myosu.train("tictactoe", TOY, run=tmp_path / "run", callbacks=[log], **LOUD)
    assert run.reason == f"stopped by Log.on_{what}" and run.updates == 10
    assert [line["update"] for line in run.evaluations] == [10]
    assert myosu.train(resume=run, quiet=True).updates == 30, "the run resumes"


def test_errors_in_callbacks_are_raised(tmp_path):
    class Broken(myosu.Callback):
        def on_evaluation(self, evaluation):
            return evaluation["no such thing"]

    with pytest.raises(KeyError, match="no such thing"):
        myosu.train("tictactoe", TOY, run=tmp_path / "run", callbacks=[Broken()], **LOUD)
    assert myosu.train(resume=tmp_path / "run", quiet=True).updates == 30


# --- the end of a training that a person wants


TRAIN = [sys.executable, "-m", "myosu.cli", "train", "tictactoe", "--algorithm", TOY, "--minutes", "10", "--actors",
         "0", "--evaluate-every", "0", "--checkpoint-every-minutes", "10", "--run"]


def wait_until_it_trains(process, run):
    deadline = time.monotonic() + 240
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").stat().st_size:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)


def test_one_signal_saves_and_ends_the_run(tmp_path):
    """Ctrl-C, SIGTERM, a closed terminal (whose output fails as well); under nohup the last of them means nothing."""
    ours, theirs = os.openpty()
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    ways = {
        "int": (signal.SIGINT, output), "term": (signal.SIGTERM, output), "hup": (signal.SIGHUP, output),
        "terminal": (signal.SIGHUP, dict.fromkeys(("stdin", "stdout", "stderr"), theirs) | {"start_new_session": True}),
        "nohup": (signal.SIGHUP, output | {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}),
    }
    processes = {name: subprocess.Popen([*TRAIN, str(tmp_path / name)], **popen) for name, (_, popen) in ways.items()}
    os.close(theirs)
    for name, process in processes.items():
        wait_until_it_trains(process, tmp_path / name)
    os.close(ours)
    for name, process in processes.items():
        process.send_signal(ways[name][0])
    for name in ("int", "term", "hup", "terminal"):
        out, _ = processes[name].communicate(timeout=120)
        assert processes[name].returncode == 130 and (name == "terminal" or "Saving and stopping" in out)
        assert len(list((tmp_path / name / "checkpoints").glob("update-*"))) == 1, "one checkpoint was saved"
    assert processes["nohup"].poll() is None
    processes["nohup"].send_signal(signal.SIGINT)
    assert "Saving and stopping" in processes["nohup"].communicate(timeout=120)[0]


def test_a_second_ctrl_c_names_the_last_checkpoint(tmp_path, capsys):
    class Twice(myosu.Callback):
        def on_checkpoint(self, path):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        myosu.train("tictactoe", TOY, run=tmp_path / "run", callbacks=[Twice()], handle_signals=True,
                    **{**LOUD, "quiet": False})
    out = capsys.readouterr().out
    assert "Stopped immediately. The last checkpoint" in out and "update-00000010" in out and "--resume" in out


# --- a notebook


def test_notebook_progress_is_updated_in_place(tmp_path, monkeypatch):
    shown, updated = [], []

    def display(page, raw, display_id):
        assert raw and display_id
        shown.append(page)
        return SimpleNamespace(update=lambda page, raw: updated.append(page))

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell,
                                                                display=SimpleNamespace(display=display)))
    monkeypatch.setattr("myosu.training.progress.LIVE_SECONDS", 0.0)
    myosu.train("tictactoe", TOY, run=tmp_path / "run", **{**TOY_TINY, "quiet": False})
    assert len(shown) == 1 and len(updated) > 3
    assert updated[-1]["text/plain"].startswith(("training", "waiting")) and "<pre>" in updated[-1]["text/html"]
