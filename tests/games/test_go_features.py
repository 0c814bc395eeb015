"""Input features of Go positions, on hand-worked positions and compared with the moves themselves."""

import numpy as np
import pytest

from myosu.games import go
from myosu.games.go import features
from myosu.games.go.board import point_of
from myosu.games.go.features import count_liberties
from positions import legal, look


def position(game, text, mover="X"):
    """``text``: rows from the top. The players place their stones in turn; a player without stones left passes."""
    rows = text.split()
    state, actions = game.new_states(1)[0], []
    places = {mark: [len(rows) * r + c for r, row in enumerate(rows) for c, cell in enumerate(row) if cell == mark]
              for mark in "XO"}
    while places["X"] or places["O"]:
        actions += [places[mark].pop() if places[mark] else game.pass_action for mark in "XO"]
    if mover == "O":
        if actions[-1] == game.pass_action:
            actions.pop()
        else:
            actions.append(game.pass_action)
    for action in actions:
        assert legal(game, state)[action] and not game.step(state, action)[1]
    return state


def at(game, planes, move):
    row, column = divmod(game.parse_action(move), planes.shape[1])
    return planes[:, row, column]


def number(values, first):
    """The count encoded by the eight planes from ``first``; 0 if all are 0."""
    found = np.flatnonzero(values[first:first + 8])
    assert len(found) < 2
    return int(found[0]) + 1 if len(found) else 0


@pytest.fixture(scope="module")
def game():
    return go.make_game(9, features=True)


TWO_CHAINS = """
    .........
    .........
    ..XO.....
    .XO.O....
    ..XO.....
    .........
    .........
    ........O
    OX......X
"""


def test_liberties_captures_and_self_atari(game):
    state = position(game, TWO_CHAINS)
    planes = look(game, state)
    assert number(at(game, planes, "C6"), features.LIBERTIES) == 1
    assert number(at(game, planes, "C7"), features.LIBERTIES) == 2
    assert number(at(game, planes, "J1"), features.LIBERTIES) == 1
    d6 = at(game, planes, "D6")  # captures C6, which is then the new stone's only liberty
    assert number(d6, features.CAPTURES) == 1 and number(d6, features.LIBERTIES_AFTER) == 1
    assert number(d6, features.SELF_ATARI) == 1
    b9 = at(game, planes, "B9")
    assert number(b9, features.CAPTURES) == number(b9, features.SELF_ATARI) == 0
    assert number(b9, features.LIBERTIES_AFTER) == 3
    h1 = at(game, planes, "H1")  # joins J1 on its only liberty; G1 and H2 are the new liberties
    assert number(h1, features.LIBERTIES_AFTER) == 2 and h1[features.SENSIBLE] and h1[features.FREE]
    assert planes[features.BLACK_TO_PLAY].all() and planes[features.ONES].all()
    assert planes[features.OWN].sum() == 5 and planes[features.OPPONENT].sum() == 6


def test_move_features_equal_the_effects_of_the_moves(game):
    """Plays every legal move of random positions and compares captures, liberties and stones in atari."""
    random, seen = np.random.default_rng(0), np.zeros(3, int)
    for seed in range(8):
        state = game.new_states(1)[0]
        for _ in range(20 + 10 * seed):
            choices = np.flatnonzero(legal(game, state)[:-1])
            game.step(state, int(random.choice(choices)))
        planes, mask = look(game, state), legal(game, state)
        for cell in range(81):
            values = planes.reshape(48, 81)[:, cell]
            point = point_of(cell, 11)
            if state["stones"][point]:
                liberties = count_liberties(state, int(state["chain"][point]), 8)[0]
                assert number(values, features.LIBERTIES) == liberties
            if not mask[cell]:
                assert not values[features.CAPTURES:features.BLACK_TO_PLAY].any()
                continue
            after = state.copy()
            game.step(after, cell)
            taken = int(after["captures"].sum() - state["captures"].sum())
            head = int(after["chain"][point])
            liberties, length = count_liberties(after, head, 8)[0], int(after["length"][head])
            assert number(values, features.CAPTURES) == min(taken, 8)
            assert number(values, features.LIBERTIES_AFTER) == liberties
            assert number(values, features.SELF_ATARI) == (min(length, 8) if liberties == 1 else 0)
            seen += (taken > 0, liberties == 1, liberties > 4)
    assert (seen > 10).all()


def test_stone_ages(game):
    state = game.new_states(1)[0]
    for move in ["E5", "C3", "C7", "G7", "D2", "pass", "pass"][:6]:
        game.step(state, game.parse_action(move))
    planes = look(game, state)
    assert [number(at(game, planes, move), features.AGE) for move in ("E5", "C3", "C7", "G7", "D2")] == [6, 5, 4, 3, 2]
    for move in ["H8", "H2", "B8", "B2"]:
        game.step(state, game.parse_action(move))
    assert number(at(game, look(game, state), "E5"), features.AGE) == 8


LADDER = """
    .........
    .......{breaker}.
    .........
    ....{first}....
    ...XO....
    ....XX...
    .........
    .........
    .........
"""


def moves(game, planes, plane):
    return {game.action_name(9 * int(r) + int(c)) for r, c in np.argwhere(planes[plane])}


def test_a_ladder_takes_a_chain_of_two_liberties_unless_it_is_broken(game):
    """White runs E5, F5, F6, G6, G7, H7, H8, J8, and Black gives atari each time, up to the edge."""
    planes = look(game, position(game, LADDER.format(first=".", breaker=".")))
    assert moves(game, planes, features.LADDER_CAPTURE) == {"E6"}  # after F5, White escapes at E6
    planes = look(game, position(game, LADDER.format(first=".", breaker="O")))
    assert moves(game, planes, features.LADDER_CAPTURE) == set()
    planes = look(game, position(game, LADDER.format(first=".", breaker="X")))
    assert moves(game, planes, features.LADDER_CAPTURE) == {"E6"}


def test_a_chain_in_atari_escapes_where_the_ladder_is_broken(game):
    for breaker, escapes in ((".", set()), ("O", {"F5"}), ("X", set())):
        planes = look(game, position(game, LADDER.format(first="X", breaker=breaker), mover="O"))
        assert moves(game, planes, features.LADDER_ESCAPE) == escapes


def test_a_chain_escapes_a_ladder_by_capturing(game):
    """As before, but D5 has one liberty: White answers E6 by capturing it at D6."""
    text = LADDER.format(first=".", breaker=".").replace("...XO....", "..OXO....").replace("....XX...", "...OXX...")
    planes = look(game, position(game, text))
    assert moves(game, planes, features.LADDER_CAPTURE) == set()
