"""Sources of experience: actors in turn, processes and recorded games; and changing the source when resuming."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from cloning_algorithm import Config as Cloning
from myosu.algorithms import load_algorithm, load_settings
from myosu.algorithms.interface import Experience
from myosu.envs.game_history import GameHistory
from myosu.envs.playback import play_through
from myosu.errors import UserError
from myosu.games import load_game
from myosu.players.agent import load_agent
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.run import open_run
from myosu.runs.state import load_state
from myosu.sources.factory import make_source
from myosu.sources.in_turn import ActorInTurn
from myosu.sources.processes import ActorProcesses
from myosu.sources.recorded import RecordedGames
from myosu.sources.stopwatch import Stopwatch
from myosu.training.start import create_run
from myosu.training.trainer import train
from toy_runs import TOY, last_weights, same_weights, toy_run

CLONING = str(Path(__file__).parents[1] / "cloning_algorithm.py")


def lowest_free_square(games, seed, chance=0.3):
    """Records of tic-tac-toe games in which both play the lowest free square, or a random one with probability
    ``chance``."""
    game, rng, records = load_game("tictactoe"), np.random.default_rng(seed), []
    for index in range(games):
        history = GameHistory(game, 0)
        while not history.now.over:
            free = np.flatnonzero(history.legal_actions())
            history.play(int(rng.choice(free) if rng.random() < chance else free[0]))
        returns = list(history.now.returns)
        records.append({"index": index, "env_steps": 0, "weights_version": 7, "length": len(history.actions),
                        "returns": returns, "raw_returns": returns, "seed": 0, "truncated": False,
                        "actions": history.actions})
    return records


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The folder of a run of tic-tac-toe with 300 recorded games."""
    folder = toy_run(tmp_path_factory.mktemp("recorded") / "run", updates=1).folder
    records = lowest_free_square(300, seed=0)
    (folder / "games.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def cloning_run(folder, *recordings, **limits):
    return create_run(RunConfig("tictactoe", CLONING, load_algorithm(CLONING).Config(tuple(map(str, recordings))),
                                TrainConfig(**{"updates": 10**6, "evaluate_every": 0, "deterministic": True} | limits)),
                      folder)


def test_source_is_chosen_by_algorithm_and_configuration(tmp_path, recording):
    def source(**train):
        return make_source(toy_run(tmp_path / str(len(list(tmp_path.iterdir()))), updates=1, **train).config)

    assert isinstance(source(deterministic=True), ActorInTurn)
    assert isinstance(source(deterministic=False, actors=0), ActorInTurn)
    assert isinstance(source(deterministic=False, actors=2), ActorProcesses)
    assert isinstance(make_source(cloning_run(tmp_path / "cloning", recording).config), RecordedGames)
    with pytest.raises(UserError, match=r"actors = 2: .* learns from recorded games and has no actors"):
        cloning_run(tmp_path / "none", recording, deterministic=False, actors=2)


def test_learner_without_actor_trains_on_all_recorded_games(tmp_path, recording):
    result = train(cloning_run(tmp_path / "run", recording), quiet=True)
    records = lowest_free_square(300, seed=0)
    assert result.reason == "all recorded games have been used"
    assert (result.games, result.env_steps) == (300, sum(record["length"] for record in records))
    # Every position was sampled replay_ratio times on average.
    assert result.updates == int(Cloning().replay_ratio * result.env_steps) // Cloning().batch_size
    train(cloning_run(tmp_path / "untrained", recording, updates=1), quiet=True)
    assert imitates(tmp_path / "run") > 0.85 and imitates(tmp_path / "untrained") < 0.6


def imitates(folder):
    """Fraction of positions of new games in which the agent plays the lowest free square."""
    agent, environment, _ = load_agent(folder)
    right = []
    for record in lowest_free_square(50, seed=1):
        observation, legal, *_ = zip(*play_through(environment, 0, record["actions"]), strict=True)
        action, _ = agent.act(np.array(observation), np.array(legal))
        right += (action == np.argmax(legal, axis=1)).tolist()
    return np.mean(right)


def test_run_on_recorded_games_is_resumed_exactly(tmp_path, recording):
    train(cloning_run(tmp_path / "whole", recording), quiet=True)
    train(cloning_run(tmp_path / "parts", recording, updates=150), quiet=True)
    result = train(open_run(tmp_path / "parts", updates=10**6), quiet=True)
    assert result.reason == "all recorded games have been used" and result.games == 300
    assert same_weights(last_weights(tmp_path / "whole"), last_weights(tmp_path / "parts"))


def test_unreplayable_games_are_skipped_and_counted(tmp_path, recording, capsys):
    other = toy_run(tmp_path / "other", updates=1).folder
    records = lowest_free_square(10, seed=2)
    records[3]["actions"][1] = records[3]["actions"][0]
    records[5]["actions"], records[5]["length"] = [*range(7), 7, 8], 9  # the game is over after seven actions
    (other / "games.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    result = train(cloning_run(tmp_path / "run", other))
    assert result.games == 8
    out = capsys.readouterr().out
    assert "The recorded game 3 is left out" in out and "is not legal here" in out
    assert "2 of 10 recorded games were left out" in out
    snake = create_run(RunConfig("snake", "ppo", load_algorithm("ppo").Config(), TrainConfig(updates=1)),
                       tmp_path / "snake").folder
    with pytest.raises(UserError, match="are of snake, not of tictactoe"):
        train(cloning_run(tmp_path / "wrong", snake), quiet=True)


def test_run_resumes_with_another_kind_of_source(tmp_path):
    """From an actor in turn to processes and back. No two actors of a run play the same games."""
    folder = tmp_path / "run"
    create_run(RunConfig("tictactoe", TOY, load_algorithm(TOY).Config(),
                         TrainConfig(updates=20, actors=0, evaluate_every=0)), folder)
    train(open_run(folder), quiet=True)
    train(open_run(folder, updates=40, actors=2), quiet=True)
    assert train(open_run(folder, updates=60, actors=0), quiet=True).updates == 60
    path = sorted((folder / "checkpoints").glob("update-*"))[-1]
    # An actor in turn; two processes and, if the learner had to wait, an actor in its process; an actor in turn.
    assert json.loads((path / "state.json").read_text())["source"]["starts"] in (4, 5)


@pytest.fixture
def silent(monkeypatch):
    """Actor processes that never deliver anything, on two cores."""
    monkeypatch.setattr(ActorProcesses, "_start", lambda self: setattr(self, "starts", self.starts + 1))
    monkeypatch.setattr("os.cpu_count", lambda: 2)


def test_learner_process_acts_while_no_experience_arrives(tmp_path, silent):
    config = toy_run(tmp_path / "run", updates=1, deterministic=False).config
    learner = load_algorithm(TOY).make_learner(load_settings(config), config.environment.spec, None, 0)
    source = ActorProcesses(config, 1)
    source.publish(learner.weights(), 3)
    assert source.collect(wait=False) == [] and source.waits()["learner_act"] == 0.0
    found = [source.collect(wait=True) for _ in range(30)]
    assert [(one.steps, one.weights_version) for (one,) in found] == [(8, 3)] * 30
    assert source.starts == 2, "a process and the learner's own, which plays other games"
    source._processes = {0: None}  # as if it ran, so that no other one is started
    source.publish(learner.weights(), 4)
    assert source.collect(wait=True)[0].weights_version == 4
    waits = source.waits()
    assert waits["learner_act"] > 0.0 and waits["learner_wait"] == waits["actor_wait"] == 0.0
    source._inbox.put(Experience(2, steps=5))
    assert [one.steps for one in source.collect(wait=True)] == [5], "experience that has arrived must come first"


def test_learner_process_only_waits_when_acting_is_unsafe(tmp_path, silent, monkeypatch):
    toy, cart = (create_run(RunConfig(game, TOY, load_algorithm(TOY).Config(), TrainConfig(updates=1)),
                            tmp_path / game).config for game in ("tictactoe", "CartPole-v1"))
    assert ActorProcesses(toy, 1)._acts_here
    assert not ActorProcesses(cart, 1)._acts_here, "a third-party environment could end the process"
    source = ActorProcesses(toy, 2)  # as many actors as cores
    learner = load_algorithm(TOY).make_learner(load_settings(toy), toy.environment.spec, None, 0)
    source.publish(learner.weights(), 0)
    assert source.collect(wait=True) == [] and source.starts == 2
    assert source.waits()["learner_wait"] > 0.0 and source.waits()["learner_act"] == 0.0

    def break_down(*_):
        raise RuntimeError("no memory for it")

    monkeypatch.setattr("myosu.sources.in_turn.make_actor", break_down)
    source = ActorProcesses(toy, 1)
    source.publish(learner.weights(), 0)
    assert source.collect(wait=True) == source.collect(wait=True) == []
    assert source.notices() == ["The learner's process has stopped acting: RuntimeError: no memory for it"]
    assert source.waits()["learner_wait"] > 0.0


def test_run_whose_learner_acts_is_resumed(tmp_path, silent, monkeypatch):
    monkeypatch.setattr("myosu.training.trainer.RECORD_SECONDS", 0.02)
    folder = tmp_path / "run"
    train(toy_run(folder, updates=30, deterministic=False), quiet=True)
    assert train(open_run(folder, updates=60), quiet=True).updates == 60
    path = sorted((folder / "checkpoints").glob("update-*"))[-1]
    assert json.loads((path / "state.json").read_text())["source"]["starts"] >= 4
    seeds = [json.loads(line)["seed"] for line in (folder / "games.jsonl").read_text().splitlines()]
    assert len(set(seeds)) == len(seeds) > 20
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(record["learner_wait_share"] == record["actor_wait_share"] == 0.0 for record in records)
    # Whether the learner had to wait, and so acted at all, is not deterministic; the tests above force it.
    assert all(0.0 <= record["learner_act_share"] <= 1.0 for record in records)


def test_stopwatch_counts_while_running():
    watch = Stopwatch()
    with watch.running():
        time.sleep(0.01)
        during = watch.seconds
        time.sleep(0.01)
    after = watch.seconds
    time.sleep(0.01)
    assert 0.01 <= during < during + 0.01 <= after == watch.seconds


def test_old_checkpoints_without_source_state_resume(tmp_path, monkeypatch):
    """Old checkpoints have the state of the actors next to the learner's."""
    folder = tmp_path / "run"
    train(toy_run(folder, updates=60, evaluate_every=30, evaluation_games=4), quiet=True)
    whole = last_weights(folder)

    def as_it_was(folder):
        state = load_state(folder)
        source = state.pop("source")
        return {**state, "actors": {"starts": source["starts"], "restarts": 0}, "actor": source["actor"]}

    monkeypatch.setattr("myosu.runs.checkpoint.load_state", as_it_was)
    train(open_run(folder / "checkpoints" / "update-00000030"), quiet=True)
    assert same_weights(whole, last_weights(folder))
