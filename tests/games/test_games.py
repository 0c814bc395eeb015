"""Rules of games, compared with published counts and, move by move, with OpenSpiel."""

import shutil
import subprocess

import numba
import numpy as np
import pytest

from myosu.games import connect_four, load_game, othello, tictactoe
from myosu.games.playout import random_actions, random_games

GAMES = {"othello": othello.GAME, "connect_four": connect_four.GAME, "tictactoe": tictactoe.GAME}
EACH = pytest.mark.parametrize("name", GAMES)


@numba.njit("int64(uint64, uint64, int64)", error_model="numpy")
def perft(own, opponent, depth):
    """Number of move sequences of length ``depth``; a pass is a move."""
    moves = othello.legal_squares(own, opponent)
    if depth == 0:
        return 1
    if moves == 0:
        return 1 if othello.legal_squares(opponent, own) == 0 else perft(opponent, own, depth - 1)
    if depth == 1:
        return othello.count_bits(moves)
    count = 0
    for square in range(64):
        if (moves >> np.uint64(square)) & np.uint64(1):
            flips = othello.flipped_discs(own, opponent, square)
            move = np.uint64(1) << np.uint64(square)
            count += perft(opponent & ~flips, own | flips | move, depth - 1)
    return count


def test_othello_perft():
    state = othello.GAME.new_states(1)[0]
    counts = [perft(state["own"], state["opponent"], depth) for depth in range(1, 10)]
    assert counts == [4, 12, 56, 244, 1396, 8200, 55092, 390216, 3005288]


@pytest.mark.parametrize(("name", "spiel_name", "games"), [("othello", "othello", 1000),
                                                           ("connect_four", "connect_four", 2000),
                                                           ("tictactoe", "tic_tac_toe", 3000)])
def test_same_as_openspiel(name, spiel_name, games):
    pyspiel = pytest.importorskip("pyspiel")
    game, spiel, random = GAMES[name], pyspiel.load_game(spiel_name), np.random.default_rng(0)
    state, mask = np.zeros(1, game.state_dtype)[0], np.zeros(game.num_actions, np.bool_)
    passes = 0
    for _ in range(games):
        game.init(state, np.uint64(0))
        theirs, ended, total = spiel.new_initial_state(), False, np.zeros(2)
        while not ended:
            game.legal_actions(state, mask)
            legal = np.flatnonzero(mask)
            assert legal.tolist() == theirs.legal_actions()
            seat = game.to_play(state)
            assert seat == theirs.current_player()
            action = int(random.choice(legal))
            passes += name == "othello" and action == othello.PASS
            reward, ended = game.step(state, action)
            theirs.apply_action(action)
            assert ended == theirs.is_terminal()
            assert ended or reward == 0
            total += (reward, -reward) if seat == 0 else (-reward, reward)
        assert np.sign(total).tolist() == theirs.returns()  # OpenSpiel returns only the outcome
        if name == "othello":
            board = str(theirs)
            assert total[0] == (board.count("x") - board.count("o")) / 2
        game.legal_actions(state, mask)
        assert mask.all()
    assert passes > 100 or name != "othello"


def test_othello_reward_is_discs_minus_32_and_zero_sum():
    state = np.zeros(1, othello.STATE)[0]
    # Black has row 1 except g1 and h1; White has g1. The move h1 ends the game with 8 black discs against none.
    state["own"], state["opponent"] = 0x3F, 0x40
    state["legal"] = othello.legal_squares(state["own"], state["opponent"])
    assert state["legal"] == 0x80
    assert othello.step(state, othello.parse_action("h1")) == (4.0, True)  # 8 + 56 / 2 − 32
    # A board that is full except for h8; White wins although Black moves last.
    full = (1 << 63) - 1
    black = (1 << 12) - 1
    state["own"], state["opponent"], state["over"] = black | 1 << 61, full & ~(black | 1 << 61), False
    reward, over = othello.step(state, 63)
    discs = int(state["opponent"]).bit_count()
    assert over and reward == discs - 32 < 0 and int(state["own"]).bit_count() == 64 - discs


def test_othello_pass_is_legal_only_when_nothing_else_is():
    states, batch = othello.GAME.new_states(500), othello.GAME.batch
    legal, rewards, ended = np.zeros((500, 65), np.bool_), np.zeros(500, np.float32), np.zeros(500, np.bool_)
    over, passes = np.zeros(500, np.bool_), 0
    for ply in range(80):
        batch.legal_actions(states, legal)
        running = ~over
        assert (legal[running, 64] == ~legal[running, :64].any(1)).all()
        passes += legal[running, 64].sum()
        batch.step(states, random_actions(legal, ply), rewards, ended)
        over |= ended
        if over.all():
            break
        legal[:] = False
    assert over.all() and passes > 20


def test_othello_rules_commute_with_all_eight_symmetries():
    """The boards are transformed directly, because the start position is not invariant under all symmetries."""
    game, random = othello.GAME, np.random.default_rng(1)
    squares = np.arange(64, dtype=np.uint64)

    def transformed(board, cells):
        bits = (board >> squares) & np.uint64(1)
        return np.bitwise_or.reduce(bits[cells] << squares)

    for s, cells in enumerate(game.symmetries.cells):
        state, other = game.new_states(2)
        ended = False
        while not ended:
            for field in ("own", "opponent", "legal"):
                other[field] = transformed(state[field], cells)
            other["player"] = state["player"]
            mask = np.zeros(65, np.bool_)
            game.legal_actions(state, mask)
            action = int(random.choice(np.flatnonzero(mask)))
            reward, ended = game.step(state, action)
            assert game.step(other, int(game.symmetries.inverse_actions[s, action])) == (reward, ended)
            planes, others = np.zeros((2, 3, 8, 8), np.uint8)
            game.observe(state, planes)
            game.observe(other, others)
            assert np.array_equal(planes.reshape(3, 64)[:, cells], others.reshape(3, 64))


@EACH
def test_symmetries_are_a_group(name):
    symmetries = GAMES[name].symmetries
    rows = {(tuple(c), tuple(a)) for c, a in zip(symmetries.cells, symmetries.actions, strict=True)}
    assert len(rows) == len(symmetries.cells) == {"othello": 8, "connect_four": 2, "tictactoe": 8}[name]
    for c, a in rows:
        assert {(tuple(np.array(c)[list(d)]), tuple(np.array(a)[list(b)])) for d, b in rows} == rows
    assert np.array_equal(np.take_along_axis(symmetries.actions, symmetries.inverse_actions, 1),
                          np.tile(np.arange(GAMES[name].num_actions), (len(rows), 1)))


@EACH
def test_action_names_are_parsed_back(name):
    game = GAMES[name]
    assert [game.parse_action(game.action_name(a)) for a in range(game.num_actions)] == list(range(game.num_actions))
    for text in ("", "z9", "i1", "d33"):
        with pytest.raises(ValueError, match="write"):
            game.parse_action(text)


def test_boards_are_rendered_as_text():
    assert othello.GAME.render(othello.GAME.new_states(1)[0]).splitlines()[4:6] == ["4 . . * O X . . .",
                                                                                    "5 . . . X O * . ."]
    state = connect_four.GAME.new_states(1)[0]
    for column in (3, 3, 0):
        connect_four.step(state, column)
    assert connect_four.GAME.render(state).splitlines()[-3:] == [". . . O . . .", "X . . X . . .", "a b c d e f g"]
    state = tictactoe.GAME.new_states(1)[0]
    tictactoe.step(state, tictactoe.parse_action("b1"))
    assert tictactoe.GAME.render(state) == ". X .\n. . .\n. . ."


@pytest.mark.skipif(not shutil.which("gtp-rhino", path="/usr/games:/usr/bin"), reason="GRhino is not installed")
def test_othello_coordinates_are_those_of_gtp():
    state, moves = othello.GAME.new_states(1)[0], []
    for ply in range(10):
        mask = np.zeros(65, np.bool_)
        othello.legal_actions(state, mask)
        action = int(np.flatnonzero(mask)[ply % mask.sum()])
        moves.append(f"play {'black' if ply % 2 == 0 else 'white'} {othello.action_name(action)}")
        othello.step(state, action)
    engine = shutil.which("gtp-rhino", path="/usr/games:/usr/bin")
    text = "\n".join(["set_game Othello", *moves, "showboard", "quit", ""])
    answer = subprocess.run([engine], input=text, capture_output=True, text=True, timeout=20).stdout
    board = answer[answer.rindex("a b c"):].splitlines()[1:9]
    ours = othello.render(state).replace("*", ".").splitlines()[1:9]
    assert [line.split() for line in board] == [line.split() for line in ours]


@EACH
def test_random_games_are_seeded_and_zero_sum(name):
    one, two, other = (random_games(GAMES[name], 200, seed) for seed in (5, 5, 6))
    for field in ("lengths", "returns", "truncated"):
        assert np.array_equal(getattr(one, field), getattr(two, field))
    assert not np.array_equal(one.lengths, other.lengths) or not np.array_equal(one.returns, other.returns)
    assert not one.truncated.any() and (one.lengths <= GAMES[name].max_plies).all()
    assert (one.returns.sum(1) == 0).all()


def test_random_actions_are_legal_and_uniform():
    legal = np.zeros((30_000, 65), np.bool_)
    legal[:, [3, 40, 64]] = True
    counts = np.bincount(random_actions(legal, 7), minlength=65)
    assert counts.sum() == counts[[3, 40, 64]].sum() == 30_000
    assert (abs(counts[[3, 40, 64]] - 10_000) < 400).all()  # five standard deviations


def test_outcome_rewards_are_signs():
    score, outcome = (random_games(g, 300, 2) for g in (othello.GAME, othello.GAME.with_outcome_rewards()))
    assert np.array_equal(np.sign(score.returns), outcome.returns)
    assert load_game("othello") is othello.GAME
