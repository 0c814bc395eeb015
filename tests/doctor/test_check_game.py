"""Every broken game below must be reported, and the games of the library must pass."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from myosu.doctor import check_game, game_moves, prediction
from myosu.games import Game, Symmetries, compiled, connect_four, load_game, othello, snake, tictactoe, woodoku

TICTACTOE, OTHELLO = tictactoe.GAME, othello.GAME
won_by, init, legal_actions, observe = tictactoe.step, tictactoe.init, tictactoe.legal_actions, tictactoe.observe


@compiled
def step_for_seat_0(state, action):
    seat = state.player
    reward, over = won_by(state, action)
    return (reward if seat == 0 else -reward), over


@compiled
def step_for_the_opponent(state, action):
    reward, over = won_by(state, action)
    return -reward, over


@compiled
def step_without_turns(state, action):
    seat = state.player
    reward, over = won_by(state, action)
    if state.board[4] != -1:
        state.player = seat
    return reward, over


@compiled
def step_never_over(state, action):
    won_by(state, action)
    state.over = False
    return 0.0, False


@compiled
def step_too_much(state, action):
    reward, over = won_by(state, action)
    return 2.0 * reward, over


@compiled
def step_by_chance(state, action):
    reward, over = won_by(state, action)
    return (reward if np.random.random() < 0.5 else 0.5 * reward), over


@compiled
def step_pays_each_move(state, action):
    over = won_by(state, action)[1]
    return (0.8 if state.player == 0 else -0.8), over


@compiled
def step_nan(state, action):
    over = won_by(state, action)[1]
    return (np.nan if over else 0.0), over


@compiled
def init_forgets(state, seed):
    state.player = 0
    state.over = False
    for cell in range(8):
        state.board[cell] = -1


@compiled
def legal_after_end_is_empty(state, mask):
    for a in range(9):
        mask[a] = not state.over and state.board[a] == -1


@compiled
def legal_beyond_the_end(state, mask):
    legal_actions(state, mask)
    for a in range(len(mask) + 1):
        if a >= 9:
            mask[a] = True


@compiled
def legal_forgets_one(state, mask):
    for a in range(8):
        mask[a] = state.over or state.board[a] == -1


@compiled
def observe_forgets_a_plane(state, out):
    flat = out.reshape(2, 9)
    for a in range(9):
        flat[0, a] = state.board[a] == state.player


@compiled
def observe_changes_state(state, out):
    observe(state, out)
    state.player = 1 - state.player


@compiled
def observe_from_seat_0(state, out):
    flat = out.reshape(2, 9)
    for a in range(9):
        flat[0, a] = state.board[a] == 0
        flat[1, a] = state.board[a] == 1


@compiled
def observe_counts(state, out):
    observe(state, out)
    for a in range(9):
        out[0, a // 3, a % 3] *= a


@compiled
def to_play_seven(state):
    return 7


ONE_TURN = np.rot90(np.arange(9).reshape(3, 3)).reshape(-1)
BROKEN = {
    "reward counted for seat 0": (replace(TICTACTOE, step=step_for_seat_0), "reward-owner"),
    "reward to the wrong player": (replace(TICTACTOE, step=step_for_the_opponent), "reward-owner"),
    "turn skipped": (replace(TICTACTOE, step=step_without_turns), "alternation"),
    "no action left": (replace(TICTACTOE, step=step_never_over, max_plies=20), "legal-actions"),
    "reward too high": (replace(TICTACTOE, step=step_too_much), "reward-range"),
    "sum of rewards too high": (replace(TICTACTOE, step=step_pays_each_move), "return-range"),
    "reward by chance": (replace(TICTACTOE, step=step_by_chance), "determinism"),
    "reward NaN": (replace(TICTACTOE, step=step_nan), "reward-finite"),
    "init leaves a cell": (replace(TICTACTOE, init=init_forgets), "init"),
    "mask empty after the end": (replace(TICTACTOE, legal_actions=legal_after_end_is_empty), "end-mask"),
    "mask written beyond": (replace(TICTACTOE, legal_actions=legal_beyond_the_end), "overrun"),
    "mask unwritten": (replace(TICTACTOE, legal_actions=legal_forgets_one), "legal_actions-unwritten"),
    "observation unwritten": (replace(TICTACTOE, observe=observe_forgets_a_plane), "observe-unwritten"),
    "looking changes the state": (replace(TICTACTOE, observe=observe_changes_state), "looking-changes"),
    "observation of one seat": (replace(TICTACTOE, observe=observe_from_seat_0), "point-of-view"),
    "observation out of range": (replace(TICTACTOE, observe=observe_counts), "observation-range"),
    "seat 7": (replace(TICTACTOE, to_play=to_play_seven), "to-play"),
    "support too wide": (replace(TICTACTOE, reward_range=(-100.0, 100.0)), "support"),
    "cut too early": (replace(TICTACTOE, max_plies=6), "truncation"),
    "range of one side": (replace(TICTACTOE, reward_range=(0.0, 1.0)), "zero-sum"),
    "names do not come back": (replace(TICTACTOE, action_name=lambda a: f"x{a}"), "action-names"),
    "render fails": (replace(TICTACTOE, render=lambda state: state["nothing"]), "render"),
    "draw fails": (replace(TICTACTOE, draw=lambda state: state["nothing"]), "draw"),
    "draw gives no picture": (replace(TICTACTOE, draw=lambda state: np.zeros((3, 3))), "draw"),
    "planes exchanged": (replace(TICTACTOE, symmetries=replace(
        TICTACTOE.symmetries, planes=np.array([[0, 1]] + 7 * [[1, 0]]))), "symmetries"),
    "planes of another board": (replace(TICTACTOE, symmetries=replace(
        TICTACTOE.symmetries, planes=np.zeros((8, 2), np.int64))), "symmetries"),
    "symmetries no group": (replace(TICTACTOE, symmetries=Symmetries(
        np.stack([np.arange(9), ONE_TURN]), np.stack([np.arange(9), ONE_TURN]))), "symmetries"),
    "symmetries of another board": (replace(TICTACTOE, symmetries=Symmetries(
        np.stack([np.arange(9), np.arange(9)[::-1]]), np.stack([np.arange(9), np.arange(9)]))), "symmetries"),
}


@pytest.fixture
def brief(monkeypatch):
    """For faults that random play shows: fewer steps of the prediction check, which looks for hidden information."""
    monkeypatch.setattr(prediction, "_MOST_OF_GAMES", 640)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.usefixtures("brief")
def test_broken_games_are_reported(name):
    game, check = BROKEN[name]
    findings = check_game(game, games=40)
    assert check in {f.check for f in findings if f.severity != "info"}, "\n".join(map(str, findings))


othello_step, squares = othello.step, othello.legal_squares


@compiled
def othello_draw_unless_won(state, action):
    reward, over = othello_step(state, action)
    return max(reward, 0.0), over


@compiled
def othello_reward_of_black(state, action):
    seat = state.player
    reward, over = othello_step(state, action)
    return (reward if seat == 0 else -reward), over


@compiled
def othello_without_pass(state, action):
    """Skips a player who cannot move, as engines without a pass action do."""
    reward, over = othello_step(state, action)
    if not over and state.legal == 0:
        reward, over = othello_step(state, othello.PASS)
    return reward, over


@pytest.mark.parametrize(("step", "check"), [
    (othello_draw_unless_won, "draws"), (othello_reward_of_black, "reward-owner"),
    (othello_without_pass, "alternation"),
])
@pytest.mark.usefixtures("brief")
def test_othello_bugs_from_the_diary_are_reported(step, check):
    findings = check_game(replace(OTHELLO, step=step), games=100)
    assert check in {f.check for f in findings if f.severity != "info"}, "\n".join(map(str, findings))


@pytest.mark.parametrize("game", [tictactoe.GAME, connect_four.GAME, othello.GAME, othello.GAME.with_outcome_rewards()],
                         ids=["tictactoe", "connect_four", "othello", "othello outcome"])
def test_built_in_games_pass_the_check(game: Game, monkeypatch):
    if game.rewards == "outcome":  # its observations are those of Othello
        monkeypatch.setattr(prediction, "_MOST_OF_GAMES", 640)
    findings = check_game(game, games=60)
    assert [str(f) for f in findings if f.severity != "info"] == []
    assert {f.check for f in findings} >= {"length", "first-seat"}


@pytest.mark.parametrize("game", [snake.GAME, woodoku.GAME], ids=lambda game: game.name)
def test_single_player_games_pass_the_check(game: Game):
    """They have chance events, which differ under a symmetry, and random play earns little of the possible reward."""
    findings = {f.check: f for f in check_game(game, games=20)}
    assert [str(f) for f in findings.values() if f.severity != "info"] == []
    assert set(findings) >= {"length", "support"}


@compiled
def init_with_an_obstacle(state, seed):
    init(state, seed)
    state.board[np.int64(seed % 9)] = 0


@pytest.mark.usefixtures("brief")
def test_symmetries_are_compared_per_game_only_without_chance():
    game = replace(TICTACTOE, init=init_with_an_obstacle)
    assert "symmetries" not in {f.check for f in check_game(game, games=20)}
    no_group = replace(game, symmetries=BROKEN["symmetries no group"][0].symmetries)
    assert "symmetries" in {f.check for f in check_game(no_group, games=20)}


@pytest.mark.usefixtures("brief")
def test_finding_lists_the_actions_that_lead_to_it():
    findings = check_game(replace(TICTACTOE, step=step_without_turns), games=20)
    found = next(f for f in findings if f.check == "alternation")
    assert found.history[-1] == "b2"
    assert "twice in a row" in str(found) and "after the actions: " in str(found) and "tictactoe" in found.message


@pytest.mark.usefixtures("brief")
def test_same_seed_same_findings():
    assert check_game(load_game("tictactoe"), 10, seed=4) == check_game(load_game("tictactoe"), 10, seed=4)


def test_large_observations_are_looked_at_in_fewer_positions(monkeypatch):
    """All moves of 600 positions, and 12,000 steps for prediction, would take about 25 GB for 19×19 boards with 48 planes."""
    tried = []
    moment = game_moves._moment
    monkeypatch.setattr(game_moves, "_TRIED_BYTES", 1)
    monkeypatch.setattr(game_moves, "_moment", lambda *arguments: tried.append(1) or moment(*arguments))
    monkeypatch.setattr(prediction, "_LARGEST", 17)  # tic-tac-toe shows 18 values
    monkeypatch.setattr(sys.modules["myosu.doctor.check_game"], "record_game", None)  # nobody may ask for it
    findings = check_game(TICTACTOE, games=5)
    assert len(tried) == 20
    assert [finding.severity for finding in findings if "18 values are too large" in finding.message] == ["info"]
    assert all(finding.severity == "info" for finding in findings), [str(finding) for finding in findings]
