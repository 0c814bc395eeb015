"""The training loop: replay ratio, counters, evaluations and failures."""

import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

from myosu.algorithms import dqn, load_algorithm, ppo
from myosu.errors import UserError
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.run import open_run
from myosu.sources.processes import ActorProcesses
from myosu.training.progress import sparkline, time_left
from myosu.training.start import create_run
from myosu.training.trainer import Trainer, train
from toy_runs import TOY, last_weights, same_weights, toy_run


def records(folder: Path, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_invalid_settings_are_refused_by_name():
    with pytest.raises(UserError, match="has no limit"):
        TrainConfig()
    with pytest.raises(UserError, match="minutes must be above 0 and finite, not -1"):
        TrainConfig(minutes=-1)
    with pytest.raises(UserError, match="deterministic run cannot be limited by minutes alone"):
        TrainConfig(minutes=1, deterministic=True)
    with pytest.raises(UserError, match="evaluation_games must be 2 or more"):
        TrainConfig(updates=1, evaluation_games=1)
    with pytest.raises(UserError, match="evaluation_games = 7: in a two-player game an even number"):
        create_run(RunConfig("tictactoe", TOY, load_algorithm(TOY).Config(),
                             TrainConfig(updates=1, evaluation_games=7)))


def test_existing_folder_is_not_overwritten(tmp_path, monkeypatch):
    run = toy_run(tmp_path / "run", updates=1)
    with pytest.raises(UserError, match=f"--resume {run.folder}"):
        toy_run(tmp_path / "run", updates=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not a run"):
        toy_run(tmp_path / "other", updates=1)
    with pytest.raises(UserError, match=r"config\.json is missing"):
        open_run(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    config = RunConfig("tictactoe", TOY, load_algorithm(TOY).Config(), TrainConfig(updates=1))
    assert create_run(config).folder.name.startswith("tictactoe-toy_algorithm-20")


def test_configuration_is_restored_and_damage_reported(tmp_path):
    run = toy_run(tmp_path / "run", {"learning_rate": 0.5}, updates=7)
    assert open_run(tmp_path / "run").config == run.config
    longer = open_run(tmp_path / "run", updates=9)
    assert longer.config.train.updates == 9 and open_run(tmp_path / "run").config == run.config
    longer.write_config()
    assert open_run(tmp_path / "run").config == longer.config
    file = tmp_path / "run" / "config.json"
    data = json.loads(file.read_text())
    data["train"]["momentum"] = 1
    file.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"config\.json .* train\.momentum: TrainConfig has no such field"):
        open_run(tmp_path / "run")
    file.write_text(file.read_text()[:50])
    with pytest.raises(UserError, match=r"config\.json is damaged, because it is not JSON"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("limit", [{"updates": 30}, {"games": 90}, {"env_steps": 500}])
def test_training_ends_at_its_limit(tmp_path, limit):
    result = train(toy_run(tmp_path / "run", **{"updates": 10**9, **limit}), quiet=True)
    done = {"updates": result.updates, "games": result.games, "env_steps": result.env_steps}
    (name, value), = limit.items()
    assert value <= done[name] < value + 100
    assert result.reason == f"{value} {name.replace('_', ' ')}"


def test_metrics_and_game_records_agree(tmp_path):
    folder = tmp_path / "run"
    result = train(toy_run(folder, updates=200, evaluate_every=100, evaluation_games=10), quiet=True)
    games = [json.loads(line) for line in (folder / "games.jsonl").read_text().splitlines()]
    assert [game["index"] for game in games] == list(range(result.games))
    assert games[-1]["env_steps"] <= result.env_steps
    assert 0 <= result.env_steps - sum(game["length"] for game in games) < 8 * 9, "the rest is in games still going on"
    assert all(game["returns"][0] == -game["returns"][1] for game in games)
    assert len(games[0]["actions"]) == games[0]["length"]
    last = records(folder, "training")[-1]
    assert last["games"] == result.games and last["update"] == 200
    returns = [game["returns"][0] for game in games]
    assert last["selfplay/reward_first_mean"] == pytest.approx(sum(returns) / len(returns))
    assert last["selfplay/reward_second_min"] == -last["selfplay/reward_first_max"]
    assert [line["update"] for line in records(folder, "evaluation")] == [100, 200]
    assert result.evaluation["update"] == 200
    assert list((folder / "tensorboard").iterdir())


def test_evaluations_use_the_configured_opponent(tmp_path, capsys):
    """The best checkpoint counts only evaluations against the current opponent."""
    other = toy_run(tmp_path / "Other", updates=1)
    train(other, quiet=True)
    folder = tmp_path / "run"
    settings = {"evaluate_every": 10, "evaluation_games": 8}
    train(toy_run(folder, updates=20, evaluation_opponent="alphabeta:2", **settings))
    assert "Against alphabeta:2: reward" in capsys.readouterr().out
    for opponent, updates in (("random", 30), (f"{other.folder}", 50)):
        result = train(open_run(folder, evaluation_opponent=opponent, updates=updates))
        assert result.evaluation["opponent"] == opponent
        assert f"Against {opponent}: reward" in capsys.readouterr().out.replace("\n", " ")
    lines = records(folder, "evaluation")
    assert [line["opponent"] for line in lines] == ["alphabeta:2"] * 2 + ["random"] + [str(other.folder)] * 2
    assert all(line["opening_plies"] == (0 if line["opponent"] == "random" else 1) for line in lines)
    best = max(lines[3:], key=lambda line: (line["mean_reward"], line["update"]))
    assert json.loads((folder / "checkpoints" / "best.json").read_text()) == {
        "checkpoint": f"update-{best['update']:08}", "mean_reward": best["mean_reward"], "opponent": str(other.folder)}


def test_invalid_opponent_is_refused_before_training(tmp_path):
    run = toy_run(tmp_path / "run", updates=10, evaluation_opponent="alphabeta:x")
    with pytest.raises(UserError, match="alphabeta:x: write the depth as a number"):
        train(run, quiet=True)
    assert not list(run.checkpoints.glob("*")) and not (run.folder / "games.jsonl").exists()


def test_failing_opponent_is_reported_and_training_continues(tmp_path, capsys):
    """The opponent is an engine that exits when it has to move."""
    (tmp_path / "engine.py").write_text("import sys\nfor line in sys.stdin:\n    if line.startswith('genmove'):\n"
                                        "        sys.exit(3)\n    print('=\\n', flush=True)\n")
    engine = f"gtp:{shlex.quote(sys.executable)} {tmp_path / 'engine.py'}"
    run = toy_run(tmp_path / "run", updates=20, evaluate_every=10, evaluation_games=4, evaluation_opponent=engine)
    result = train(run)
    assert result.updates == 20 and result.evaluation is None
    said = " ".join(capsys.readouterr().out.split())
    for update in (10, 20):
        assert f"The evaluation of update {update} failed: The engine {engine} ended with exit code 3" in said


def test_non_finite_loss_stops_training_and_saves_the_state(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="the loss is nan") as caught:
        train(toy_run(folder, {"broken_at": 50}, updates=100, evaluate_every=20, evaluation_games=4), quiet=True)
    assert find_checkpoint(folder).update == 40
    assert "update-00000040" in str(caught.value) and "nonfinite-update-00000049" in str(caught.value)
    assert (folder / "nonfinite-update-00000049" / "state.safetensors").is_file()
    assert all(tensor.isfinite().all() for tensor in last_weights(folder).values())


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    trainer = Trainer(toy_run(tmp_path / "run", updates=10), quiet=True)
    trainer.learner.model.weight.data[0, 0] = float("nan")
    with pytest.raises(Exception, match="weights weight are not finite"):
        trainer.checkpoint()
    trainer.close()
    assert trainer.checkpoints.latest() is None


def test_replay_ratio_is_held_in_turn(tmp_path):
    result = train(toy_run(tmp_path / "run", {"replay_ratio": 0.5, "batch_size": 8}, updates=200), quiet=True)
    # At most one batch behind, or the positions of games that end in one step of eight environments.
    assert 0.5 * (result.env_steps - 2 * 8 * 9) - 8 <= 200 * 8 <= 0.5 * result.env_steps


def test_processes_keep_replay_ratio_and_replace_a_dead_actor(tmp_path, monkeypatch):
    """The learner is slow, so that the actors must wait, and one of them is killed."""
    folder = tmp_path / "run"
    run = toy_run(folder, {"replay_ratio": 1.0, "replay_capacity": 20_000}, deterministic=False, actors=2,
                  updates=500, evaluate_every=5, evaluation_games=10)
    killed = []
    collect = ActorProcesses.collect

    def collect_and_kill(self, wait):
        experience = collect(self, wait)
        if experience and not killed:
            killed.append(next(iter(self._processes.values())).pid)
            os.kill(killed[0], signal.SIGKILL)
        time.sleep(0.002)
        return experience

    monkeypatch.setattr(ActorProcesses, "collect", collect_and_kill)
    monkeypatch.setattr("myosu.training.trainer.EVALUATION_PAUSE", 1e6)
    result = train(run, quiet=True)
    assert result.updates == 500 and result.evaluation["update"] == 500
    last = records(folder, "training")[-1]
    assert last["actor_restarts"] == 1
    slack = 2 * 8 * 9  # actors × games × plies
    in_flight = 10 * slack  # experience sent before an actor had to wait
    assert result.env_steps - 2 * slack - in_flight <= 500 * 16 <= result.env_steps
    assert last["memory_mib"] is None or last["memory_mib"] > 100
    # The actors received newer weights.
    games = [json.loads(line) for line in (folder / "games.jsonl").read_text().splitlines()]
    assert games[-1]["weights_version"] > 0
    # Evaluations during training are paused here, but the last one is not.
    assert [line["update"] for line in records(folder, "evaluation")][1:] == [500]


def test_time_left_follows_the_nearest_limit():
    assert time_left(60, {"minutes": (1, 10), "updates": (900, 1000)}) == "about 0:07 left"
    assert time_left(60, {"updates": (0, 1000)}) == "time left unknown yet"


def test_sparkline():
    assert sparkline([0.0, 1.0, 0.5]) == "▁█▅" and sparkline([3.0]) == "▁"


def test_unusable_saved_settings_name_the_config_file(tmp_path):
    """Settings read from a file: the error message names the file."""
    folder = tmp_path / "run"
    train(toy_run(folder, updates=20), quiet=True)
    file = folder / "config.json"
    data = json.loads(file.read_text())
    data["algorithm_config"]["replay_capacity"] = 10**15
    file.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"The settings in .*config\.json are unusable"):
        train(open_run(folder, updates=30), quiet=True)
    data["spec"]["num_players"] = 3
    file.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"config\.json .*spec\.num_players: 3 must be from 1 to 2"):
        open_run(folder)


def test_a_run_of_one_rollout_learns_from_it(tmp_path):
    config = ppo.Config(num_envs=8, rollout_steps=128, anneal_learning_rate=True)
    run = create_run(RunConfig("CartPole-v1", "ppo", config,
                               TrainConfig(env_steps=1024, deterministic=True, evaluate_every=0)), tmp_path / "run")
    before = ppo.make_learner(config, run.config.environment.spec, None, 0).weights()
    result = train(run, quiet=True)
    assert (result.env_steps, result.updates, result.reason) == (1024, 16, "1024 env steps")
    assert not same_weights(before, last_weights(run.folder))
    assert 0 < records(run.folder, "training")[-1]["loss/learning_rate"] <= config.learning_rate


@pytest.mark.parametrize("algorithm, config", [
    ("ppo", ppo.Config(num_envs=4, rollout_steps=32, batch_size=32, hidden=(8,), normalize_rewards=True)),
    ("dqn", dqn.Config(num_envs=4, hidden=(8,), batch_size=16, replay_capacity=300, learning_starts=50, n_step=3,
                       prioritized=True)),
])
def test_interrupted_rollouts_and_replay_are_resumed_exactly(tmp_path, algorithm, config):
    """Interrupt in the middle of a rollout (ppo), and after the ring buffer has wrapped around (dqn)."""
    def new_run(name):
        return create_run(RunConfig("CartPole-v1", algorithm, config,
                                    TrainConfig(env_steps=900, deterministic=True, evaluate_every=0)), tmp_path / name)

    train(new_run("whole"), quiet=True)
    trainer, stop = Trainer(new_run("cut"), quiet=True), []
    learn = trainer._learn
    trainer._learn = lambda: (learn(), stop.append(1) if trainer.updates == (50 if algorithm == "ppo" else 900) else 0)
    assert trainer.run_until(stop).reason == "interrupted"
    trainer.close()
    assert train(open_run(tmp_path / "cut"), quiet=True).reason == "900 env steps"
    assert same_weights(last_weights(tmp_path / "whole"), last_weights(tmp_path / "cut"))
