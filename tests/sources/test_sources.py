"""Where experience comes from: actors in turn, processes, recorded games; and going on with another of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from cloning_algorithm import Config as Cloning
from myosu.algorithms import load_algorithm
from myosu.envs.course import Course
from myosu.envs.playback import play_through
from myosu.errors import UserError
from myosu.games import load_game
from myosu.players.agent import load_agent
from myosu.runs.config import RunConfig, TrainConfig
from myosu.runs.run import open_run
from myosu.runs.state import load_state
from myosu.sources import ActorInTurn, ActorProcesses, RecordedGames, make_source
from myosu.training.start import create_run
from myosu.training.trainer import train
from toy_runs import TOY, last_weights, same_weights, toy_run

CLONING = str(Path(__file__).parents[1] / "cloning_algorithm.py")


def lowest_free_square(games, seed, chance=0.3):
    """Records of games of tic-tac-toe in which both play the lowest free square, but for a random one now and then."""
    game, rng, records = load_game("tictactoe"), np.random.default_rng(seed), []
    for index in range(games):
        course = Course(game, 0)
        while not course.now.over:
            free = np.flatnonzero(course.legal_actions())
            course.play(int(rng.choice(free) if rng.random() < chance else free[0]))
        returns = list(course.now.returns)
        records.append({"index": index, "env_steps": 0, "weights_version": 7, "length": len(course.actions),
                        "returns": returns, "raw_returns": returns, "seed": 0, "truncated": False,
                        "actions": course.actions})
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


def test_the_source_follows_from_the_algorithm_and_the_configuration(tmp_path, recording):
    def source(**train):
        return make_source(toy_run(tmp_path / str(len(list(tmp_path.iterdir()))), updates=1, **train).config)

    assert isinstance(source(deterministic=True), ActorInTurn)
    assert isinstance(source(deterministic=False, actors=0), ActorInTurn)
    assert isinstance(source(deterministic=False, actors=2), ActorProcesses)
    assert isinstance(make_source(cloning_run(tmp_path / "cloning", recording).config), RecordedGames)
    with pytest.raises(UserError, match=r"actors = 2: .* learns from recorded games and has no actors"):
        cloning_run(tmp_path / "none", recording, deterministic=False, actors=2)


def test_a_learner_without_an_actor_imitates_recorded_games_until_there_are_no_more(tmp_path, recording):
    result = train(cloning_run(tmp_path / "run", recording), quiet=True)
    records = lowest_free_square(300, seed=0)
    assert result.reason == "all recorded games are learnt from"
    assert (result.games, result.env_steps) == (300, sum(record["length"] for record in records))
    # Every position was drawn replay_ratio times on average.
    assert result.updates == int(Cloning().replay_ratio * result.env_steps) // Cloning().batch_size
    train(cloning_run(tmp_path / "untrained", recording, updates=1), quiet=True)
    assert imitates(tmp_path / "run") > 0.85 and imitates(tmp_path / "untrained") < 0.6


def imitates(folder):
    """How often the agent plays the lowest free square, in games that it has not seen."""
    agent, environment, _ = load_agent(folder)
    right = []
    for record in lowest_free_square(50, seed=1):
        observation, legal, *_ = zip(*play_through(environment, 0, record["actions"]), strict=True)
        action, _ = agent.act(np.array(observation), np.array(legal))
        right += (action == np.argmax(legal, axis=1)).tolist()
    return np.mean(right)


def test_recorded_games_go_on_exactly(tmp_path, recording):
    train(cloning_run(tmp_path / "whole", recording), quiet=True)
    train(cloning_run(tmp_path / "parts", recording, updates=150), quiet=True)
    result = train(open_run(tmp_path / "parts", updates=10**6), quiet=True)
    assert result.reason == "all recorded games are learnt from" and result.games == 300
    assert same_weights(last_weights(tmp_path / "whole"), last_weights(tmp_path / "parts"))


def test_games_that_go_differently_are_left_out_and_counted(tmp_path, recording, capsys):
    other = toy_run(tmp_path / "other", updates=1).folder
    records = lowest_free_square(10, seed=2)
    records[3]["actions"][1] = records[3]["actions"][0]
    records[5]["actions"], records[5]["length"] = [*range(7), 7, 8], 9  # over after seven
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


def test_a_run_goes_on_with_another_kind_of_source(tmp_path):
    """From an actor in turn to processes and back; no two actors of a run play the same games."""
    folder = tmp_path / "run"
    create_run(RunConfig("tictactoe", TOY, load_algorithm(TOY).Config(),
                         TrainConfig(updates=20, actors=0, evaluate_every=0)), folder)
    train(open_run(folder), quiet=True)
    train(open_run(folder, updates=40, actors=2), quiet=True)
    assert train(open_run(folder, updates=60, actors=0), quiet=True).updates == 60
    path = sorted((folder / "checkpoints").glob("update-*"))[-1]
    assert json.loads((path / "state.json").read_text())["source"]["starts"] == 4


def test_checkpoints_from_before_there_were_sources_go_on(tmp_path, monkeypatch):
    """The state of the actors used to lie beside that of the learner."""
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
