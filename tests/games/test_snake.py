"""Snake compared with its authors' description of the rules, on hand-worked positions and move by move."""

import numpy as np
import pytest

from myosu.doctor import check_game
from myosu.games import snake
from myosu.games.playout import random_games
from positions import legal, look

DOWN, RIGHT, UP, LEFT = range(4)
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
SMALL = {"fixed": snake.make_game(size=5), "published": snake.make_game(published=True, size=5)}
EACH = pytest.mark.parametrize("mode", SMALL)


def lay(game, path, targets=()):
    """A position with the snake along ``path``, from tail to head."""
    state = game.new_states(1)[0]
    state["stamps"], state["targets"] = 0, 0
    for stamp, place in enumerate(path, 1):
        state["stamps"][place] = stamp
    for place in targets:
        state["targets"][place] = 1
    (row, column), neck = path[-1], path[-2]
    state["row"], state["column"], state["head"], state["tail"] = row, column, len(path), 1
    state["heading"] = STEPS.index((row - neck[0], column - neck[1]))
    return state


def winding(size):
    """All cells, row by row in alternating directions."""
    return [(row, column if row % 2 == 0 else size - 1 - column) for row in range(size) for column in range(size)]


class Rules:
    """Reference rules with a list of cells, written from the description; only new targets are read from ``state``."""

    def __init__(self, published, size, state):
        self.published, self.size = published, size
        self.body = [(size // 2, size // 2 - 2 + k) for k in range(3)]
        self.targets, self.hunger = {tuple(p) for p in np.argwhere(state["targets"])}, 0

    def step(self, action, state):
        (row, column), neck = self.body[-1], self.body[-2]
        to = (row + STEPS[action][0], column + STEPS[action][1])
        if to == neck:
            to = (2 * row - neck[0], 2 * column - neck[1])
        solid = self.body if self.published or to in self.targets else self.body[1:]
        if not all(0 <= x < self.size for x in to) or to in solid:
            return -1.0, True
        self.body.append(to)
        self.hunger += 1
        if to in self.targets:
            self.hunger = 0
            now = {tuple(p) for p in np.argwhere(state["targets"])}
            fresh = now - (self.targets - {to})
            blank = self.size**2 - len(self.body) - len(self.targets) + 1
            assert len(fresh) == min(1, blank) and not fresh & set(self.body)
            self.targets = now
            return 1.0, not self.published and len(self.body) == self.size**2
        self.body.pop(0)
        starved = not self.published and self.hunger == self.size**2
        return (-1.0 if starved else 0.0), starved

    def channels(self, count):
        """The observation of gym-snakegame."""
        one = np.zeros((self.size, self.size), np.uint32)
        for place, cell in enumerate(reversed(self.body), 1):
            one[cell] = place
        length, item = len(self.body), self.size**2 + 1
        for cell in self.targets:
            one[cell] = item
        kept = {1: [one >= 0], 2: [one < item, one == item],
                4: [(one > 1) & (one < length), one == 1, one == length, one == item]}[count]
        return np.array([one * mask for mask in kept])


@pytest.mark.parametrize(("published", "targets", "channels"),
                         [(False, 1, 1), (False, 3, 1), (True, 1, 1), (True, 3, 2), (True, 30, 4)])
def test_game_equals_a_plain_implementation_of_the_rules(published, targets, channels):
    game = snake.make_game(published, 5, targets, channels)
    random, eaten, lengths = np.random.default_rng(targets), 0, []
    for seed in range(40):
        state = game.new_states(1, seed)[0]
        rules, ended = Rules(published, 5, state), False
        for _ in range(300):
            if published:
                assert np.array_equal(look(game, state), rules.channels(channels))
            tries = random.permutation(4)
            promised = [game.step(np.array([state])[0], int(a))[0] for a in tries]  # on copies
            action = int(tries[np.argmax(promised)] if random.random() < 0.99 else tries[0])
            got = game.step(state, action)
            assert got == rules.step(action, state)
            eaten += got[0] > 0
            ended = got[1]
            if ended:
                break
            assert (state["row"], state["column"]) == rules.body[-1]
            assert (state["stamps"] >= state["tail"]).sum() == len(rules.body)
        lengths.append(len(rules.body))
        assert ended or published
    assert eaten > 100 and max(lengths) > 8


@EACH
def test_start_position_turning_back_and_walls(mode):
    game = SMALL[mode]
    state = game.new_states(1)[0]
    assert game.render(state).replace("*", ".").splitlines()[2] == "# o @ . ."
    assert np.flatnonzero(legal(game, state)).tolist() == ([DOWN, RIGHT, UP] if mode == "fixed" else [0, 1, 2, 3])
    state["targets"] = 0
    assert game.step(state, LEFT) == (0.0, False)
    assert (state["row"], state["column"]) == (2, 3), "turning back goes straight on"
    assert game.step(state, RIGHT) == (0.0, False)
    assert game.step(state, RIGHT) == (-1.0, True)
    assert np.flatnonzero(legal(game, state)).tolist() == [0, 1, 2, 3]


@EACH
def test_eating_makes_the_snake_grow(mode):
    game = SMALL[mode]
    state = lay(game, [(2, 0), (2, 1), (2, 2)], [(2, 3)])
    assert game.step(state, RIGHT) == (1.0, False)
    assert (state["stamps"] >= state["tail"]).sum() == 4 and state["stamps"][2, 0] == state["tail"]
    assert state["targets"].sum() == 1 and not (state["targets"].astype(bool) & (state["stamps"] > 0)).any()


@EACH
def test_running_into_its_own_body_ends_the_game(mode):
    game = SMALL[mode]
    coil = [(2, 1), (2, 2), (2, 3), (3, 3), (3, 2)]
    assert game.step(lay(game, coil), UP) == (-1.0, True)


@pytest.mark.parametrize(("mode", "outcome"), [("fixed", (0.0, False)), ("published", (-1.0, True))])
def test_published_bug_the_leaving_tail_kills(mode, outcome):
    square = [(1, 1), (1, 2), (2, 2), (2, 1)]
    assert SMALL[mode].step(lay(SMALL[mode], square), UP) == outcome


@pytest.mark.parametrize("mode", SMALL)
def test_published_bug_a_full_board_is_a_death(mode):
    game, path = SMALL[mode], winding(5)
    state = lay(game, path[:-1], path[-1:])
    won = game.step(state, RIGHT)
    assert (state["stamps"] >= state["tail"]).all() and state["targets"].sum() == 0
    if mode == "fixed":
        assert won == (1.0, True)
    else:
        assert won == (1.0, False)
        assert [game.step(np.array([state])[0], action) for action in range(4)] == [(-1.0, True)] * 4


def test_published_bug_targets_overlap():
    games = {published: snake.make_game(published, 5, 15) for published in (False, True)}
    counts = {published: [int(targets.sum()) for targets in game.new_states(20)["targets"]]
              for published, game in games.items()}
    assert counts[False] == [15] * 20
    # 15 random cells of 22 are 11.05 different ones on average, and almost never 15.
    assert 10 < np.mean(counts[True]) < 12 and max(counts[True]) < 15
    assert snake.make_game(False, 5, 30).new_states(1)[0]["targets"].sum() == 22, "a target on every free cell"


def test_published_bug_circling_never_ends():
    rewards = {}
    for mode, game in SMALL.items():
        state = lay(game, [(0, 0), (0, 1), (1, 1)], [(4, 4)])
        outcomes = [game.step(state, (LEFT, UP, RIGHT, DOWN)[ply % 4]) for ply in range(25)]
        assert outcomes[:24] == [(0.0, False)] * 24
        rewards[mode] = outcomes[24]
    assert rewards == {"fixed": (-1.0, True), "published": (0.0, False)}


def test_fixed_observation_determines_the_state():
    """Reconstructs the state from the observation, except for the offset of the stamps."""
    game, random = snake.GAME, np.random.default_rng(3)
    for seed in range(30):
        state = game.new_states(1, seed)[0]
        for _ in range(60):
            planes = look(game, state)
            assert planes.max() == 1
            length = int(state["head"] - state["tail"]) + 1
            (head,) = map(tuple, np.argwhere(planes[snake.HEAD]))
            before = {}
            for direction, row, column in np.argwhere(planes[snake.LINKS:snake.HUNGER]):
                before[row + STEPS[direction][0], column + STEPS[direction][1]] = (row, column)
            path = [head]
            while path[-1] in before:
                path.append(before[path[-1]])
            assert [int(state["stamps"][cell]) for cell in path] == [state["head"] - k for k in range(length)]
            assert np.array_equal(planes[snake.TARGET], state["targets"])
            bits = planes[snake.HUNGER:].reshape(len(planes) - snake.HUNGER, -1)
            assert (bits == bits[:, :1]).all() and sum(int(b) << k for k, b in enumerate(bits[:, 0])) == state["hunger"]
            action = int(random.choice(np.flatnonzero(legal(game, state))))
            if game.step(state, action)[1]:
                break


def turned(state, cells):
    other = np.array([state])[0]
    size = len(state["stamps"])
    for field in ("stamps", "targets"):
        other[field] = state[field].reshape(-1)[cells].reshape(size, size)
    other["row"], other["column"] = np.argwhere(other["stamps"] == other["head"])[0]
    neck = np.argwhere(other["stamps"] == other["head"] - 1)[0]
    other["heading"] = STEPS.index((other["row"] - neck[0], other["column"] - neck[1]))
    return other


@EACH
def test_rules_commute_with_all_eight_symmetries(mode):
    game, random = SMALL[mode], np.random.default_rng(1)
    symmetries = game.symmetries
    assert len(symmetries.cells) == 8
    for s, cells in enumerate(symmetries.cells):
        planes = np.arange(game.observation_shape[0]) if symmetries.planes is None else symmetries.planes[s]
        for seed in range(5):
            state, ended = game.new_states(1, seed)[0], False
            while not ended:
                other = turned(state, cells)  # at each step, because targets fall on other cells there
                flat = look(game, state).reshape(len(planes), -1)
                assert np.array_equal(flat[planes][:, cells], look(game, other).reshape(len(planes), -1))
                mask, others = np.zeros((2, 4), np.bool_)
                game.legal_actions(state, mask)
                game.legal_actions(other, others)
                assert np.array_equal(mask[symmetries.actions[s]], others)
                action = int(random.choice(np.flatnonzero(mask)))
                reward, ended = game.step(state, action)
                assert game.step(other, int(symmetries.inverse_actions[s, action])) == (reward, ended)


@pytest.mark.parametrize("game", [snake.GAME, snake.PUBLISHED], ids=lambda game: game.name)
def test_doctor_finds_nothing(game):
    assert [str(f) for f in check_game(game, games=30) if f.severity != "info"] == []


def test_randomness_depends_on_the_seed_only():
    places = [[game.new_states(1, seed)[0]["targets"].tobytes() for seed in range(20)]
              for game in (snake.GAME, snake.make_game())]
    assert places[0] == places[1] and len(set(places[0])) > 10
    one, two = (random_games(snake.GAME, 50, 3) for _ in range(2))
    assert np.array_equal(one.lengths, two.lengths) and np.array_equal(one.returns, two.returns)


def test_targets_are_uniformly_distributed():
    counts = np.zeros((5, 5))
    for seed in range(2200):
        counts += SMALL["fixed"].new_states(1, seed)[0]["targets"]
    assert (counts[2, :3] == 0).all()
    free = np.delete(counts.reshape(-1), [10, 11, 12])
    assert (abs(free - 100) < 5 * 9.8).all()  # five standard deviations


def test_action_names_and_pictures():
    assert [snake.parse_action(snake.action_name(a)) for a in range(4)] == [0, 1, 2, 3]
    assert snake.parse_action(" L ") == LEFT
    for text in ("", "x", "leftt"):
        with pytest.raises(ValueError, match="write"):
            snake.parse_action(text)
    state = lay(SMALL["fixed"], [(2, 1), (2, 2), (3, 2)], [(0, 4)])
    assert snake.render(state) == ". . . . *\n. . . . .\n. # o . .\n. . @ . .\n. . . . .\nlength 3"
    image = snake.draw(state, pixels=20)
    assert image.shape == (100, 100, 3) and image.dtype == np.uint8
    red, green, _ = image[10, 90].astype(int)
    assert red > 2 * green, "the target is red"
    red, green, _ = image[50, 40].astype(int)
    assert green > 2 * red, "the snake is green, between its cells too"
    assert snake.draw(lay(SMALL["fixed"], winding(5))).shape == (160, 160, 3)


@pytest.mark.parametrize("options", [{"size": 4}, {"targets": 0}, {"channels": 3}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="the size must be"):
        snake.make_game(published=True, **options)
