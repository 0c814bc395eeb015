"""Bubble on hand-worked shots, and on the results of players of known strength."""

import math

import numpy as np
import pytest

from myosu.doctor import check_game
from myosu.envs.native import NativeVectorEnv
from myosu.envs.registry import load_environment
from myosu.evaluation.episodes import play_episodes
from myosu.games import bubble
from myosu.games.playout import random_games
from positions import legal, look

GAME = bubble.GAME
STRAIGHT = 20


def lay(rows, current="r", following="r", shots=60):
    """A position; rows are text with one letter per cell and "." for an empty one."""
    state = GAME.new_states(1)[0]
    state["board"] = 0
    for row, text in enumerate(rows):
        for column, letter in enumerate(text.split()):
            state["board"][row, column] = bubble.LETTERS.index(letter)
    state["current"], state["following"] = bubble.LETTERS.index(current), bubble.LETTERS.index(following)
    state["shots"] = shots
    bubble.aim(state)
    return state


def shoot(state, angle):
    """Shoot at an angle. Returns (reward, terminated)."""
    return GAME.step(state, bubble.flight(state, angle)[1])


def rows_of(state):
    """The rendered rows, without empty ones at the end."""
    lines = [line.strip() for line in bubble.render(state).splitlines()[:-1]]
    while lines and not set(lines[-1]) - set(". "):
        lines.pop()
    return lines


def greedy(state):
    """One-ply search: removes the most bubbles, with fallen ones counted twice; else joins the largest group of the
    colour, then prefers high cells and few bounces."""
    best, found = None, set()
    for angle in range(bubble.NUM_ANGLES):
        path, cell = bubble.flight(state, angle)
        if cell in found:
            continue
        found.add(cell)
        board = state["board"].copy()
        row, column = divmod(cell, bubble.WIDTH)
        board[row, column] = state["current"]
        popped, fallen, together = bubble.pop_and_drop(board, row, column)
        value = (popped + 2 * fallen or -1, together, -row, -len(path))
        if best is None or value > best[0]:
            best = value, cell
    return best[1]


def test_touching_cells_are_two_radii_apart():
    """Rows are √3 apart and odd rows shifted by one radius, so that neighbours touch: their centres are 2 apart."""
    for row, column in ((2, 3), (3, 3)):
        x, y = bubble.middle_of(row, column)
        cells = [(row + a, column + b) for a, b in bubble.NEIGHBOURS[row % 2]]
        assert len(set(cells)) == 6
        for cell in cells:
            assert math.dist((x, y), bubble.middle_of(*cell)) == pytest.approx(2)
    assert [bubble.width_of(row) for row in range(3)] == [8, 7, 8]
    assert bubble.ANGLES[[0, STRAIGHT, 40]].tolist() == pytest.approx([-math.radians(70), 0, math.radians(70)])


def test_a_straight_shot_stops_below_a_bubble():
    """Halfway between cells 3 and 4 of the ceiling, the shot snaps to the left one. The next shot meets that bubble 1
    to the side, so √(1.85² − 1) below its centre, and the nearest cell is the one below the gap, in row 1."""
    state = lay([], "r")
    path, cell = bubble.flight(state, STRAIGHT)
    assert path.tolist() == [[8, bubble.SHOOTER_Y], [8, pytest.approx(1)]] and cell == 3
    state = lay([". . . r . . . ."])
    path, cell = bubble.flight(state, STRAIGHT)
    assert path[-1].tolist() == pytest.approx([8, 1 + math.sqrt(1.85**2 - 1)]) and cell == bubble.WIDTH + 3


def test_shots_bounce_off_the_walls():
    """At 70° from x = 8 the wall at 15 is 7 away, so the first bounce is 7 / tan 70° = 2.548 up, and the others follow
    every 14 / tan 70° = 5.096. The ceiling is 24.249 up, 21.701 above the first bounce: four more bounces, and then
    0.259 · 14 across."""
    path, cell = bubble.flight(lay([]), 40)
    assert path[:, 0].tolist() == pytest.approx([8, 15, 1, 15, 1, 15, 15 - 14 * (21.7012 / 5.0956 - 4)], abs=1e-3)
    up = (bubble.SHOOTER_Y - path[:, 1]).tolist()
    assert up == pytest.approx([0, 2.5478, 7.6434, 12.7390, 17.8345, 22.9301, 24.2487], abs=1e-3)
    assert cell == 5, "x = 11.377 is nearest to the middle at 11"
    mirrored, _ = bubble.flight(lay([]), 0)
    assert mirrored[:, 0].tolist() == pytest.approx((16 - path[:, 0]).tolist())
    assert mirrored[:, 1].tolist() == pytest.approx(path[:, 1].tolist())


def test_a_shot_passes_gaps_that_are_wide_enough():
    """Centres 4 apart leave 2 · (2 − 1.85) to spare; nothing passes between two neighbours."""
    through = lay([". . . . . . . .", ". . . . . . .", ". . . . . . . .", ". . r . r . ."])
    assert bubble.flight(through, STRAIGHT)[1] == 3
    assert bubble.flight(lay([". . . . . . . .", ". . . . . . .", ". . . r r . . ."]), STRAIGHT)[1] == 3 * 8 + 3


def test_two_bubbles_stay_and_three_pop():
    state = lay([". . . r . . . b"])
    assert shoot(state, STRAIGHT) == (pytest.approx(-0.03), False)
    assert rows_of(state) == [". . . r . . . b", ". . . r . . ."]
    state = lay([". . . r r . . b"])
    assert shoot(state, STRAIGHT) == (pytest.approx(3 * 0.01 - 0.03), False)
    assert rows_of(state) == [". . . . . . . b"]


def test_unsupported_bubbles_fall_and_supported_ones_stay():
    state = lay(["b . . r r . . y", ". . . . . . y", "b . . . . . . y"])
    state["board"][1, 3], state["board"][2, 2], state["board"][3, 2] = (bubble.LETTERS.index(c) for c in "rgb")
    board = state["board"].copy()
    board[1, 2] = bubble.LETTERS.index("r")
    popped, fallen, together = bubble.pop_and_drop(board, 1, 2)
    assert (popped, fallen, together) == (4, 3, 4), "g and b below and the unsupported b of row 2 fall"
    state["board"] = board
    assert rows_of(state) == ["b . . . . . . y", ". . . . . . y", ". . . . . . . y"]


def test_clearing_the_board_wins():
    state = lay([". . . r r . . ."], shots=9)
    assert shoot(state, STRAIGHT) == (pytest.approx(1 + 3 * 0.01 - 0.03), True)
    assert rows_of(state) == [] and state["shots"] == 8 and legal(GAME, state).all()


def test_the_last_shot_ends_the_game():
    state = lay(["b . . . . . . ."], shots=1)
    assert shoot(state, STRAIGHT) == (pytest.approx(-0.03), True)


def test_a_bubble_in_the_last_row_costs_the_remaining_shots():
    column = [". . . b . . . ." if row % 2 == 0 else ". . . b . . ." for row in range(13)]
    state = lay(column, shots=10)
    assert shoot(state, STRAIGHT) == (pytest.approx(-10 * 0.03), True)
    state = lay(column, "b", shots=10)
    assert shoot(state, STRAIGHT) == (pytest.approx(1 + 14 * 0.01 - 0.03), True), "a bubble that pops costs nothing"


def test_new_colours_are_drawn_from_those_on_the_board():
    state = lay([". . . r r . . b"], "r", "r")
    shoot(state, STRAIGHT)
    assert bubble.LETTERS[state["current"]] == bubble.LETTERS[state["following"]] == "b"
    state = lay([". . . g . . . b"], "r", "b")
    shoot(state, STRAIGHT)
    assert bubble.LETTERS[state["current"]] == "b" and bubble.LETTERS[state["following"]] in "rgb"


def test_shots_between_two_cells_and_at_unreachable_cells():
    state = lay([])
    mask = legal(GAME, state)
    assert mask[:8].all() and not mask[8:].any(), "only the ceiling stops a shot"
    state = lay([". . . b . . . ."], "r")
    assert GAME.step(state, 3) == (pytest.approx(-0.03), False), "the cell is occupied"
    assert rows_of(state) == [". . . b . . . ."] and state["shots"] == 59
    ways = bubble.angles_to_cells(lay([]))
    assert ways[3] == ways[4] == STRAIGHT and (ways[:8] >= 0).all() and (ways[8:] == -1).all()


def test_rules_commute_with_the_mirror_symmetry():
    """The reachable cells and the observation of a mirrored position are mirrored."""
    turned = GAME.symmetries.cells[1]
    for seed in range(20):
        state, random = GAME.new_states(1, seed)[0], np.random.default_rng(seed)
        for _ in range(12):
            GAME.step(state, int(random.choice(np.flatnonzero(legal(GAME, state)))))
        other = state.copy()
        other["board"] = state["board"].reshape(-1)[turned].reshape(14, 8)
        bubble.aim(other)
        assert np.array_equal(legal(GAME, other), legal(GAME, state)[turned])
        planes = look(GAME, state).reshape(-1, 14 * 8)
        assert np.array_equal(look(GAME, other).reshape(planes.shape), planes[:, turned])


def test_observation_planes():
    """Yellow is current and blue is next, so their planes are first; red and green follow."""
    state = lay([". . . r . y y b", ". . . . . b g"], "y", "b", shots=37)
    planes = look(GAME, state)
    assert planes.shape == (15, 14, 8)
    reached, pops, falls = planes[:3].astype(bool)
    assert np.array_equal(reached.reshape(-1), legal(GAME, state)) and reached[0, :3].all() and not reached[0, 3]
    assert np.argwhere(pops).tolist() == [[1, 4]] and not falls.any(), "beside two yellow ones"
    assert [np.argwhere(plane).tolist() for plane in planes[3:7]] == [
        [[0, 5], [0, 6]], [[0, 7], [1, 5]], [[0, 3]], [[1, 6]]]
    assert planes[7].tolist() == [[row % 2] * 8 for row in range(14)]
    everywhere = planes[8:].reshape(7, -1)
    assert (everywhere == everywhere[:, :1]).all()
    assert everywhere[:, 0].tolist() == [0, 1, 0, 1, 0, 0, 1], "another colour follows; 37 = 100101 in binary"
    state["following"] = state["current"]
    planes = look(GAME, state)
    assert planes[8].all() and [np.argwhere(plane).tolist() for plane in planes[3:7]] == [
        [[0, 5], [0, 6]], [[0, 3]], [[1, 6]], [[0, 7], [1, 5]]]


def test_observation_shows_falling_bubbles():
    state = lay([". . . r r . b .", ". . . g . . ."], "r")
    _, pops, falls = look(GAME, state)[:3].astype(bool)
    assert np.argwhere(falls).tolist() == np.argwhere(pops).tolist() and pops.any(), "g is supported by r only"


def test_observation_is_invariant_under_colour_permutation():
    """A permutation of the colours leaves the observation unchanged."""
    for seed in range(10):
        state = GAME.new_states(1, seed)[0]
        state["following"] = state["current"] % 4 + 1
        colours = np.array([0, *(np.random.default_rng(seed).permutation(4) + 1)])
        other = state.copy()
        other["board"] = colours[state["board"]]
        other["current"], other["following"] = colours[state["current"]], colours[state["following"]]
        one, two = look(GAME, state), look(GAME, other)
        assert np.array_equal(np.delete(one, (5, 6), 0), np.delete(two, (5, 6), 0))
        assert np.array_equal(one[5:7], two[5:7]) or np.array_equal(one[5:7], two[[6, 5]])


def test_invariants_under_random_play():
    random = np.random.default_rng(0)
    for seed in range(30):
        state, ended, plies = GAME.new_states(1, seed)[0], False, 0
        assert (state["board"] > 0).sum() == 45
        while not ended:
            before = (state["board"] > 0).sum()
            path, cell = bubble.flight(state, int(random.integers(41)))
            row, column = divmod(cell, 8)
            assert column < bubble.width_of(row) and state["board"][row, column] == 0
            assert row == 0 or any(
                0 <= row + a < 14 and 0 <= column + b < bubble.width_of(row + a) and state["board"][row + a, column + b]
                for a, b in bubble.NEIGHBOURS[row % 2]), "it hangs on something"
            assert ((path[:, 0] >= 1 - 1e-9) & (path[:, 0] <= 15 + 1e-9)).all() and (np.diff(path[:, 1]) <= 0).all()
            reward, ended = GAME.step(state, cell)
            plies += 1
            board = state["board"]
            gone = before + 1 - (board > 0).sum()
            assert gone == 0 or gone >= 3
            assert not board[1::2, 7].any()
            hangs = {int(colour) for colour in board[board > 0]}
            assert not hangs or {int(state["current"]), int(state["following"])} <= hangs or ended
            # All bubbles are connected to the ceiling: a flood fill from there reaches all.
            reached, todo = {(0, c) for c in range(8) if board[0, c]}, [(0, c) for c in range(8) if board[0, c]]
            while todo:
                r, c = todo.pop()
                for a, b in bubble.NEIGHBOURS[r % 2]:
                    to = (r + a, c + b)
                    if 0 <= to[0] < 14 and 0 <= to[1] < 8 and board[to] and to not in reached:
                        reached.add(to)
                        todo.append(to)
            assert len(reached) == (board > 0).sum()
            if not ended:
                assert reward == pytest.approx(0.01 * gone - 0.03) and plies == 60 - state["shots"]


def test_a_greedy_player_clears_each_level_in_24_shots_and_a_random_one_hardly_any():
    """The greedy player of the prototype needed 23.7 shots."""
    shots = []
    for seed in range(20):
        state, ended = GAME.new_states(1, seed)[0], False
        while not ended:
            _, ended = GAME.step(state, greedy(state))
        assert not state["board"].any()
        shots.append(60 - int(state["shots"]))
    assert abs(np.mean(shots) - 23.7) < 3 * np.std(shots) * math.sqrt(1 / 20 + 1 / 12)
    games = random_games(GAME, 2000, 0)
    assert (games.returns[:, 0] > 0).mean() < 0.01, "random play rarely has a positive return"


def test_levels_and_colours_depend_on_the_seed_only():
    one, two, other = (random_games(GAME, 50, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.returns, two.returns) and np.array_equal(one.lengths, two.lengths)
    assert not np.array_equal(one.returns, other.returns)
    assert np.array_equal(GAME.new_states(1, 5), GAME.new_states(1, 5))
    colours = np.concatenate([GAME.new_states(1, seed)[0]["board"][:6].reshape(-1) for seed in range(200)])
    counts = np.bincount(colours)[1:]
    assert len(counts) == 4 and (abs(counts - 45 * 50) < 5 * math.sqrt(45 * 50)).all()


def test_doctor_finds_nothing():
    assert [str(f) for f in check_game(GAME, games=20) if f.severity != "info"] == []


def test_action_names_and_pictures():
    assert [bubble.parse_action(bubble.action_name(a)) for a in range(112)] == list(range(112))
    assert bubble.action_name(19) == "d3" and bubble.parse_action(" H14 ") == 111
    for text in ("", "left", "i1", "a15", "a0", "d"):
        with pytest.raises(ValueError, match="write"):
            bubble.parse_action(text)
    state = lay([". . . r . . . b", ". . . . . . g"], "y", "b", shots=37)
    lines = bubble.render(state).splitlines()
    assert lines[:2] == [". . . r . . . b", " . . . . . . g"] and lines[-1] == "shoot y, then b, 37 shots left"
    image = bubble.draw(state, pixels=24)
    assert image.dtype == np.uint8 and image.shape[1:] == (8 * 24, 3)
    assert np.abs(image[12, 3 * 24 + 12].astype(int) - bubble.COLOURS[0]).max() < 12
    assert (image[12, 12] == bubble.BACKGROUND).all()


@pytest.mark.parametrize("settings", [{"rows": 0}, {"rows": 13}, {"colours": 8}, {"shots": 64}])
def test_impossible_levels_are_refused(settings):
    with pytest.raises(ValueError, match="there can be"):
        bubble.make_game(**settings)


def test_a_shot_price_below_the_bubble_reward_is_refused():
    with pytest.raises(ValueError, match="must cost"):
        bubble.make_game(bubble_reward=0.1, shot_price=0.05)


class Greedy:
    """The greedy player as an agent. It reads the states of the one vector environment that it plays in."""

    has_memory = True  # the index of each row's environment, because finished environments are left out

    def __init__(self, clears):
        self.clears, self.env = clears, None

    def act(self, observation, legal_actions, state=None, starts=None):
        envs = np.arange(len(observation)) if state is None else state[:, 0]
        return np.array([greedy(game) if self.clears else 0 for game in self.env.states[envs]]), envs[:, None]


@pytest.mark.parametrize("clears", [True, False])
def test_evaluation_reports_success_rate_and_shots(clears, monkeypatch):
    environment, agent = load_environment("bubble"), Greedy(clears)

    def make(self, *arguments):
        agent.env = NativeVectorEnv(GAME, *arguments)
        return agent.env

    monkeypatch.setattr(type(environment), "make", make)
    report = play_episodes(environment, agent, 30).to_json()
    assert report["success_rate"] == clears
    if clears:
        assert report["mean_success_length"] == report["mean_length"] and 18 < report["mean_length"] < 28
        assert report["success_rate_ci95"][1] == 1.0 and 0.8 < report["success_rate_ci95"][0] < 1
    else:
        assert report["mean_success_length"] is None
