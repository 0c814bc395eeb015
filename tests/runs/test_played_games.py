"""Games move by move, kept and played again; what agents say they think."""

from __future__ import annotations

import json
from dataclasses import replace as changed

import numpy as np
import pytest

from myosu import cli
from myosu.envs.game_history import GameHistory, replay
from myosu.errors import UserError
from myosu.games import load_game
from myosu.players.agent import load_agent
from myosu.runs.games import GameRecord, read_game, write_game
from myosu.runs.recordings import open_recording
from myosu.runs.sgf import to_sgf
from myosu.web.analyzer import PositionAnalysis, analysis_to_json, choose, shares
from myosu.web.views import view
from web_runs import TINY, untrained_run

GAMES = ["othello", "connect_four", "tictactoe", "snake", "woodoku"]


def random_course(name: str, seed: int, plies: int = 10_000) -> tuple[GameHistory, list[np.ndarray]]:
    """A game by chance, and copies of all its states."""
    history, rng = GameHistory(load_game(name), seed), np.random.default_rng(seed)
    states = [history.now.state.copy()]
    while not history.now.over and history.now.ply < plies:
        legal = history.legal_actions()
        if name == "snake":  # which would not live long
            legal &= np.array([not history.after(history.now, a).over if legal[a] else False for a in range(4)]) | (
                rng.random() < 0.1)
            legal = legal if legal.any() else history.legal_actions()
        history.play(int(rng.choice(np.flatnonzero(legal))))
        states.append(history.now.state.copy())
    return history, states


def record_of(history: GameHistory) -> GameRecord:
    now = history.now
    players = [{"kind": "person"}] * history.game.num_players
    return GameRecord(history.seed, list(history.actions), list(now.returns), now.terminated, now.truncated,
                      game=history.game.name, players=players)


@pytest.mark.parametrize("name", GAMES)
def test_every_position_of_a_game_is_restored(name):
    history, states = random_course(name, 2**53 - 1)
    assert history.now.over and history.now.ply == len(history.actions) == len(states) - 1
    for ply in np.random.default_rng(0).permutation(len(states)):
        position = history.position(int(ply))
        assert position.ply == ply and position.state == states[ply]
    back = len(states) // 2
    history.take_back(back)
    assert history.now.state == states[back] and len(history.actions) == back and not history.now.over
    legal = np.flatnonzero(history.legal_actions())
    history.play(int(legal[-1]))
    for ply in range(back + 1):
        assert history.position(ply).state == states[ply]
    with pytest.raises(UserError, match="not legal"):
        history.play(history.game.num_actions)


def test_returns_match_the_displayed_score():
    history, _ = random_course("othello", 3)
    black, white = history.now.returns
    discs = view(history, history.now)["board"]["score"]
    assert black == -white == (discs[0] - discs[1]) / 2
    snake, _ = random_course("snake", 3)
    assert snake.now.returns[0] == len(view(snake, snake.now)["board"]["body"]) - 3 - 1


def test_shown_effect_of_a_move_equals_playing_it():
    history, _ = random_course("othello", 5, plies=20)
    before = view(history, history.now)["board"]
    assert [option[0] for option in before["options"]] == view(history, history.now)["legal"]
    action, cell, flips = before["options"][0]
    history.play(action)
    after = view(history, history.now)["board"]
    assert (after["placed"], after["flipped"]) == (cell, flips) and flips
    four = GameHistory(load_game("connect_four"), 0)
    for column in (0, 1, 0, 1, 0, 1, 0):
        four.play(column)
    assert view(four, four.now)["board"]["line"] == [14, 21, 28, 35]


@pytest.mark.parametrize("name", GAMES)
def test_saved_game_is_replayed(name, tmp_path):
    history, _ = random_course(name, 77)
    kept = record_of(history)
    write_game(tmp_path / "1.json", kept)
    assert list(open_recording(tmp_path).records()) == [kept]
    again = kept.history()
    assert again.now.state == history.now.state and again.now.returns == history.now.returns
    with pytest.raises(UserError, match="rules have changed"):
        changed(kept, returns=[value + 1 for value in kept.returns]).history()
    with pytest.raises(UserError, match=r"does not fit the rules|rules have changed"):
        changed(kept, actions=[*kept.actions, 0]).history()


@pytest.mark.parametrize("damage", [{"format": 2}, {"actions": [1, "2"]}, {"seed": "1"}, {"returns": None}])
def test_damaged_game_files_are_refused(tmp_path, damage, caplog):
    history, _ = random_course("tictactoe", 1)
    write_game(tmp_path / "whole.json", record_of(history))
    (tmp_path / "bad.json").write_text(json.dumps({**record_of(history).to_json(), **damage}))
    with pytest.raises(UserError, match=r"bad\.json"):
        read_game(tmp_path / "bad.json")
    assert list(open_recording(tmp_path).records()) == [record_of(history)]  # what is whole is still used
    assert "bad.json" in caplog.text
    with pytest.raises(UserError):
        GameRecord.from_json([])


def test_othello_sgf_export():
    game = load_game("othello")
    moves = "c4 e3 f2 e2 f6 g2 f3 e6 f4 c3 d1 c6 h2 f1 b7 c5 b2 c2 c1 e1 d2 b1 d6 b4 a4 a1 a2 b3 pass"
    history = replay(game, 0, [game.parse_action(move) for move in moves.split()])
    agent = {"kind": "agent", "run": "a]b", "checkpoint": "update-1"}
    text = to_sgf(changed(record_of(history), players=[{"kind": "person"}, agent]), game)
    assert text.startswith("(;FF[4]GM[2]SZ[8]") and "PB[person]PW[a\\]b update-1]" in text and "RE[" not in text
    assert ";B[cd];W[ec]" in text and text.endswith(";W[bc];B[])\n")


@pytest.mark.parametrize("name", GAMES)
def test_think_and_act_choose_the_same_move(tmp_path, name):
    agent, environment, _ = load_agent(untrained_run(tmp_path / "run", name))
    history, _ = random_course(name, 9, plies=4)
    observation, legal = history.observation(history.now)[None], history.legal_actions()[None]
    analysis = agent.analyze(observation, legal)
    assert analysis.action[0] == agent.act(observation, legal)[0][0] == analysis.lines[0][0]
    assert analysis.policy.sum() == pytest.approx(1, abs=1e-5) and not analysis.policy[0][~legal[0]].any()
    low, high = environment.spec.reward_range
    assert analysis.value.shape == (1,) and np.isfinite(analysis.value).all()
    if TINY[name][0] == "muzero":
        assert low <= analysis.value[0] <= high and analysis.visits.sum() == 4
        deeper = agent.analyze(observation, legal, simulations=40)
        assert deeper.visits.sum() == 40 and 2 <= len(deeper.lines[0]) <= 8
    else:
        assert analysis.visits is None


@pytest.mark.parametrize("name", GAMES)
def test_chosen_move_has_the_greatest_share(tmp_path, name):
    """In every position: a page must not show a greater number beside another move."""
    agent, _, _ = load_agent(untrained_run(tmp_path / "run", name))
    for seed in range(30):
        history, _ = random_course(name, seed, plies=seed // 6)
        found = agent.analyze(history.observation(history.now)[None], history.legal_actions()[None],
                              simulations=2 + seed)
        share = shares(PositionAnalysis(int(found.action[0]), found.policy[0], 0.0,
                                        None if found.visits is None else found.visits[0], []))
        assert share[found.action[0]] == share.max() and share.sum() == pytest.approx(1, abs=1e-5)


def test_temperature_shapes_the_choice_of_moves():
    analysis = PositionAnalysis(2, np.array([0.1, 0.0, 0.6, 0.3], np.float32), 0.0, None, [2])
    rng = np.random.default_rng(0)
    drawn = {t: np.bincount([choose(analysis, t, rng) for _ in range(2000)], minlength=4) / 2000
             for t in (0, 0.05, 1, 10)}
    assert drawn[0][2] == 1 and drawn[0.05][2] > 0.99
    assert drawn[1] == pytest.approx([0.1, 0, 0.6, 0.3], abs=0.05)
    assert drawn[10][0] > 0.25 and drawn[10][1] == 0
    searched = changed(analysis, visits=np.array([1, 4, 2, 1], np.int32), action=1)
    assert choose(searched, 0, rng) == 1 and np.bincount(
        [choose(searched, 1, rng) for _ in range(2000)]) / 2000 == pytest.approx([1 / 8, 1 / 2, 1 / 4, 1 / 8], abs=0.05)


def test_chosen_move_is_first_and_has_the_greatest_share():
    """Of equal ones too; a policy that likes another move better, as Gumbel's search may, changes nothing."""
    analysis = PositionAnalysis(3, np.array([0.82, 0.05, 0.05, 0.008, 0.072], np.float32), 0.1,
                                np.array([2, 0, 13, 13, 4]), [3])
    told = analysis_to_json(analysis, [3])
    assert told["shares"] == [[3, 0.4062], [2, 0.4062], [4, 0.125], [0, 0.0625]] and told["visits"] == [13, 13, 4, 2]
    told = analysis_to_json(changed(analysis, visits=None, action=0), [0])
    assert told["shares"][0] == [0, 0.82] and told["visits"] is None


def test_play_without_uvicorn_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    monkeypatch.delitem(__import__("sys").modules, "myosu.web.server", raising=False)
    monkeypatch.delattr("myosu.web.server", raising=False)
    assert cli.run(["play", str(tmp_path)]) == 2
    assert "pip install starlette uvicorn websockets" in capsys.readouterr().err
