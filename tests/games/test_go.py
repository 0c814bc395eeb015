"""Go: captures, ko, superko, suicide and area on hand-worked positions, and compared with slow rules and OpenSpiel."""

import numpy as np
import pytest

from myosu.doctor import check_game
from myosu.envs.game_history import GameHistory
from myosu.games import go
from myosu.games.go.board import area, copy_board, count_pseudo_liberties, point_of
from myosu.games.go.drawing import stone_grid
from myosu.games.go.playout import list_empties, playout_dtype, random_playout
from myosu.web.views import view
from positions import legal


def make(size, **settings):
    """A small game with room for many plies. The rules are compiled anew for every size and number of plies, which
    takes seconds, so that all games here have the same one."""
    return go.make_game(size, max_plies=10 * size * size, **settings)


def start(size=5, **settings):
    game = make(size, **settings)
    return game, game.new_states(1)[0]


def play(game, state, moves):
    """Play ``moves``, written as ``C3 D4 pass``. Returns (reward, terminated) of each."""
    return [game.step(state, game.parse_action(move)) for move in moves.split()]


def may(game, state, move):
    return bool(legal(game, state)[game.parse_action(move)])


def stones(state):
    return ["".join(".XO"[stone] for stone in row) for row in stone_grid(state)]


class SlowGo:
    """A slow reference implementation of the Tromp–Taylor rules with sets and whole boards."""

    def __init__(self, size, suicide):
        self.size, self.suicide = size, suicide
        self.board = [[0] * size for _ in range(size)]
        self.seen, self.player, self.passes = {self.key()}, 1, 0

    def key(self):
        return tuple(map(tuple, self.board))

    def near(self, row, column):
        return [(r, c) for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
                if 0 <= r < self.size and 0 <= c < self.size]

    def region(self, place):
        """Points of the same colour connected to ``place``, and the colours adjacent to them."""
        colour, region, waiting, around = self.board[place[0]][place[1]], {place}, [place], set()
        while waiting:
            for r, c in self.near(*waiting.pop()):
                if self.board[r][c] != colour:
                    around.add(self.board[r][c])
                elif (r, c) not in region:
                    region.add((r, c))
                    waiting.append((r, c))
        return region, around

    def clear(self, colour):
        for place in [(r, c) for r in range(self.size) for c in range(self.size) if self.board[r][c] == colour]:
            region, around = self.region(place)
            if self.board[place[0]][place[1]] == colour and 0 not in around:
                for r, c in region:
                    self.board[r][c] = 0

    def after(self, cell):
        """The position after a move, and whether its own stone stayed; the board does not change."""
        before = [list(row) for row in self.board]
        row, column = divmod(cell, self.size)
        self.board[row][column] = self.player
        self.clear(3 - self.player)
        self.clear(self.player)
        key, stayed = self.key(), self.board[row][column] == self.player
        self.board = before
        return key, stayed

    def legal(self):
        found = []
        for cell in range(self.size ** 2):
            if self.board[cell // self.size][cell % self.size] == 0:
                key, stayed = self.after(cell)
                if key not in self.seen and (stayed or self.suicide):
                    found.append(cell)
        return [*found, self.size ** 2]

    def step(self, action):
        if action < self.size ** 2:
            self.board = [list(row) for row in self.after(action)[0]]
            self.seen.add(self.key())
            self.passes = 0
        else:
            self.passes += 1
        self.player = 3 - self.player
        return self.passes == 2

    def area(self):
        points = 0
        for r in range(self.size):
            for c in range(self.size):
                around = self.region((r, c))[1] if self.board[r][c] == 0 else {self.board[r][c]}
                points += (around == {1}) - (around == {2})
        return points


@pytest.mark.parametrize(("size", "suicide"), [(3, False), (3, True), (5, True)])
def test_game_equals_a_plain_implementation_of_the_rules(size, suicide):
    """Positions repeat often on boards this small."""
    game = make(size, komi=0.5, suicide=suicide)
    random = np.random.default_rng(size)
    state, repeats = game.new_states(1)[0], 0
    for _ in range({3: 25, 5: 4}[size]):
        game.init(state, np.uint64(0))
        slow, ended, ply = SlowGo(size, suicide), False, 0
        while not ended:
            actions = np.flatnonzero(legal(game, state)).tolist()
            assert actions == slow.legal()
            repeats += sum(slow.after(cell)[0] in slow.seen for cell in range(size * size)
                           if slow.board[cell // size][cell % size] == 0)
            assert area(state) == slow.area()
            # Passing at random would end most games too early.
            choices = actions[:-1] if random.random() < 0.98 else []
            action = int(random.choice(choices)) if choices else size * size
            mover = state["player"]
            reward, ended = game.step(state, action)
            over = slow.step(action)
            ply += 1
            assert ended == (over or ply == 10 * size * size)
            assert stone_grid(state).tolist() == slow.board
            expected = np.sign(slow.area() - 0.5) * (1 if mover == 0 else -1) if ended else 0
            assert reward == expected
    assert repeats > 50


def test_board_maintains_chains_liberties_and_codes():
    """Chains, lengths, liberties and the eight points around, recounted after every move."""
    game, state = start(5, suicide=True)
    random = np.random.default_rng(0)
    for _ in range(4):
        game.init(state, np.uint64(0))
        for _ in range(100):
            choices = np.flatnonzero(legal(game, state)[:-1])
            game.step(state, int(random.choice(choices)) if len(choices) else 25)
            slow = SlowGo(5, True)
            slow.board = stone_grid(state).tolist()
            flat = state["stones"]
            for cell in range(25):
                point = point_of(cell, 7)
                around = [flat[point + step] for step in (-7, -1, 1, 7, -8, -6, 6, 8)]
                assert state["around"][point] == sum(int(stone) << 2 * k for k, stone in enumerate(around))
                if flat[point] == 0:
                    assert state["chain"][point] == 0
                    continue
                region, _ = slow.region(divmod(cell, 5))
                members = {point_of(5 * r + c, 7) for r, c in region}
                head = state["chain"][point]
                assert {p for p in range(49) if flat[p] in (1, 2) and state["chain"][p] == head} == members
                assert state["length"][head] == len(members)
                free = [p + step for p in members for step in (-7, -1, 1, 7) if flat[p + step] == 0]
                assert count_pseudo_liberties(state, head) == (len(free), sum(free), sum(p * p for p in free))
                ring, stone = set(), point
                while stone not in ring:
                    ring.add(int(stone))
                    stone = int(state["link"][stone])
                assert ring == members


def test_captures_of_several_chains_at_once():
    game, state = start(3)
    play(game, state, "A2 A1 C2 C1 B2 pass")
    assert game.step(state, game.parse_action("B1")) == (0.0, False)
    assert stones(state) == ["...", "XXX", ".X."] and state["captures"].tolist() == [2, 0]


def test_ko_may_be_retaken_after_a_move_elsewhere_only():
    game, state = start(5)
    play(game, state, "B3 C3 A2 D2 B1 C1 C2 B2")  # White captures C2
    assert stones(state)[2:4] == [".XO..", "XO.O."] and state["captures"].tolist() == [0, 1]
    assert not may(game, state, "C2")
    assert not play(game, state, "pass pass")[0][1]
    game, state = start(5)
    play(game, state, "B3 C3 A2 D2 B1 C1 C2 B2 E5 E1")
    assert may(game, state, "C2")


def test_superko_forbids_sending_two_returning_one():
    """No stone is retaken immediately, but the position would repeat: superko forbids it, simple ko does not."""
    game, state = start(5)
    play(game, state, "A2 B2 A3 C2 E5 D1 E4 A1 B1 pass C1 A1")
    assert stones(state) == ["....X", "....X", "X....", "XOO..", "O..O."] and state["captures"].tolist() == [1, 2]
    assert state["ko"] == 0 and not may(game, state, "B1")
    play(game, state, "D5 D4")
    assert may(game, state, "B1")


@pytest.mark.parametrize("suicide", [False, True])
def test_suicide_is_legal_only_if_allowed(suicide):
    game, state = start(3, suicide=suicide)
    play(game, state, "pass A2 pass B3")
    assert not may(game, state, "A3")  # single-stone suicide repeats the position, so it is always illegal
    game, state = start(5, suicide=suicide)
    play(game, state, "A5 C5 pass B4 pass A3 A4 pass")
    assert stones(state)[:3] == ["X.O..", "XO...", "O...."]
    assert may(game, state, "B5") == suicide
    if suicide:
        play(game, state, "B5")
        assert stones(state)[:3] == ["..O..", ".O...", "O...."] and state["captures"].tolist() == [0, 3]


def test_two_passes_end_the_game_and_area_is_scored():
    game, state = start(5, komi=3.5)
    rewards = play(game, state, "C3 pass pass")
    assert rewards == [(0.0, False), (0.0, False), (1.0, True)]  # 25 points against 3.5
    assert legal(game, state).all()
    game, state = start(5, komi=25)
    assert play(game, state, "C3 pass pass")[-1] == (0.0, True)
    game, state = start(5, komi=0.5)
    assert play(game, state, "pass pass")[-1] == (1.0, True)  # White, who passes last, leads by half a point
    game, state = start(5, komi=7.5)
    play(game, state, "B1 D1 B2 D2 B3 D3 B4 D4 B5 D5")
    assert game.score(state) == 10 - 10 - 7.5


def test_a_game_at_max_plies_is_scored_as_it_stands():
    game, state = start(5, komi=0.5)
    random, ended, ply = np.random.default_rng(1), False, 0
    while not ended:
        choices = np.flatnonzero(legal(game, state)[:-1])
        mover = state["player"]
        reward, ended = game.step(state, int(random.choice(choices)) if len(choices) else 25)
        ply += 1
    assert ply == 250 or state["passes"] == 2
    after = state.copy()
    assert game.step(after, 3) == (0.0, True) and after == state
    assert reward == np.sign(game.score(state)) * (1 if mover == 0 else -1)


def test_observation_shows_eight_positions_from_the_movers_side():
    game, state = start(5)
    play(game, state, "C3 D3 C4 D4 E5")
    out = np.full(game.observation_shape, 7, np.uint8)
    game.observe(state, out)
    assert out.shape == (17, 5, 5) and out.max() == 1
    mover, opponent = out[0:16:2], out[1:16:2]  # White's and Black's stones
    assert [int(plane.sum()) for plane in mover] == [2, 2, 1, 1, 0, 0, 0, 0]
    assert [int(plane.sum()) for plane in opponent] == [3, 2, 2, 1, 1, 0, 0, 0]
    assert np.argwhere(mover[0]).tolist() == [[1, 3], [2, 3]] and np.argwhere(opponent[4]).tolist() == [[2, 2]]
    assert out[16].sum() == 0
    play(game, state, "pass")
    game.observe(state, out)
    assert (out[16] == 1).all()
    assert [int(plane.sum()) for plane in out[0:16:2]] == [3, 3, 2, 2, 1, 1, 0, 0]
    assert [int(plane.sum()) for plane in out[1:16:2]] == [2, 2, 2, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("name", ["go9", "go9-features"])
def test_doctor_finds_nothing(name):
    game = {"go9": go.GO9, "go9-features": go.GO9_FEATURES}[name]
    assert [finding for finding in check_game(game, games=20) if finding.severity != "info"] == []


def test_names_of_points():
    for game, size in ((go.GO9, 9), (go.GO19, 19)):
        assert [game.parse_action(game.action_name(a)) for a in range(game.num_actions)] == list(range(size * size + 1))
    assert go.GO9.action_name(0) == "A9" and go.GO9.action_name(8) == "J9" and go.GO9.action_name(80) == "J1"
    assert go.GO19.action_name(18) == "T19" and go.GO9.parse_action(" e5 ") == 40
    for text in ("", "I5", "K9", "A0", "A10", "E", "5E", "A²", "Z"):
        with pytest.raises(ValueError, match="a column A–J"):
            go.GO9.parse_action(text)


@pytest.mark.parametrize("settings", [{"size": 1}, {"size": 20}, {"komi": 100}, {"max_plies": 10}])
def test_invalid_sizes_are_refused(settings):
    with pytest.raises(ValueError, match="the size must be 2 to 19"):
        go.make_game(**settings)


def test_board_is_drawn_and_rendered_as_text():
    game, state = go.GO9, go.GO9.new_states(1)[0]
    play(game, state, "E5 C3 D3")
    lines = game.render(state).splitlines()
    assert lines[0] == "   A B C D E F G H J" and lines[5] == " 5 . . . . X . . . ."
    assert lines[7] == " 3 . . O(X). . . . ."
    picture, empty = game.draw(state), game.draw(game.new_states(1)[0])
    assert picture.dtype == np.uint8 and picture.shape == empty.shape
    pixels = (len(picture) - 1) // 10
    middles = pixels + np.arange(9) * pixels
    changed = (picture != empty).any(2)[np.ix_(middles, middles)]
    assert np.argwhere(changed).tolist() == [[4, 4], [6, 2], [6, 3]]


def test_playouts_end_as_the_rules_score_them():
    """The list of empty points is correct at the end, and lengths and areas are plausible."""
    scratch, state = np.zeros(1, playout_dtype(9))[0], go.GO9.new_states(1)[0]
    areas, lengths = [], []
    for seed in range(400):
        copy_board(state, scratch)
        list_empties(scratch)
        scratch["chance"] = seed << 32
        points, moves = random_playout(scratch, 1)
        assert points == area(scratch)
        board = stone_grid(scratch)
        assert sorted(scratch["empties"][:scratch["empty_count"]].tolist()) == sorted(
            point_of(cell, 11) for cell in np.flatnonzero(board.reshape(-1) == 0))
        areas.append(points)
        lengths.append(moves)
    assert 100 < np.mean(lengths) < 120 and abs(np.mean(areas)) < 8 and max(lengths) <= 243


def test_same_as_openspiel():
    pyspiel = pytest.importorskip("pyspiel")
    spiel = pyspiel.load_game("go", {"board_size": 9, "komi": 7.5, "max_game_length": 400})
    game, random = go.make_game(9, max_plies=400), np.random.default_rng(2)
    state = game.new_states(1)[0]
    for _ in range(15):
        game.init(state, np.uint64(0))
        theirs, ended = spiel.new_initial_state(), False
        while not ended:
            actions = np.flatnonzero(legal(game, state))
            # OpenSpiel numbers points from the bottom, like GTP, and has the same rule for repetitions.
            named = {theirs.action_to_string(theirs.current_player(), a).split()[-1].upper()
                     for a in theirs.legal_actions()}
            assert {game.action_name(a).upper() for a in actions} == named
            action = int(random.choice(actions[:-1])) if len(actions) > 1 else 81
            theirs.apply_action(next(a for a in theirs.legal_actions() if theirs.action_to_string(
                theirs.current_player(), a).split()[-1].upper() == game.action_name(action).upper()))
            mover = state["player"]
            reward, ended = game.step(state, action)
            assert ended == theirs.is_terminal()
        assert theirs.returns()[mover] == reward


def test_view_shows_stones_captures_and_territory():
    history = GameHistory(go.GO9, 0)
    for move in ["E5", "D5", "C5", "A1", "D6", "B1", "D4", "pass"]:
        history.play(go.GO9.parse_action(move))
    board = view(history, history.now)["board"]
    assert (board["kind"], board["files"], board["rows"], board["pass"]) == ("grid", "ABCDEFGHJ", 9, True)
    assert board["cells"][go.GO9.parse_action("D5")] == 0 and board["score"] == [1, 0] and board["owners"] is None
    assert len(board["options"]) == 81 - 6 and board["placed"] == -1
    history.play(81)
    view(history, history.now)
    over = view(history, history.now)
    owner = dict(zip(map(go.GO9.action_name, range(81)), over["board"]["owners"], strict=True))
    assert over["over"] and (owner["D5"], owner["A1"], owner["J9"]) == (1, 2, 0)
    assert over["board"]["score"] == [5, 9.5] and tuple(over["returns"]) == (-1.0, 1.0)
