"""Tests by random play whether a game follows the contract of ``myosu.games.Game``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from myosu.doctor.finding import Finding, Findings
from myosu.doctor.game_moves import check_moves
from myosu.doctor.game_statistics import check_statistics
from myosu.doctor.game_symmetries import check_symmetries
from myosu.doctor.prediction import check_prediction, record_game, too_large
from myosu.games.game import Game

#: Each game is played on two copies, in memory filled with these bytes, so entries that are never written differ.
_FILLS = (0x00, 0xAA)
#: State size in bytes above which the other checks, which hold hundreds of states, are skipped.
_LARGE = 1 << 17
_GUARD = 64  # bytes before and after every buffer, which no rule may touch


def check_game(game: Game, games: int = 200, seed: int = 0,
               on_finding: Callable[[Finding], None] | None = None) -> list[Finding]:
    """Play ``games`` random games and report faults, errors first. If there are only infos, nothing is wrong.

    on_finding: called with each finding as soon as it is found.
    """
    findings = Findings(on_finding)
    _check_description(game, findings)
    tables = [_Table(game, fill) for fill in _FILLS]
    random = np.random.default_rng(seed)
    large = game.state_dtype.itemsize > _LARGE
    for number in range(games):
        played = _GameCheck(game, tables, findings)
        try:
            played.play(random, seed + number)
        except Exception as error:
            played.error("crash", f"a rule fails: {type(error).__name__}: {error}.", "No rule may fail after legal "
                         "actions. The last one of these was played, or was about to be looked at.")
            break
        if large and number == 1:
            break
    if large:
        findings.add("warning", "state-size", f"{game.name}: a state takes {game.state_dtype.itemsize:,} bytes. Search "
                     "keeps one for every node of its trees, thousands at once.", "Keep in the state only what "
                     "changes: constant tables belong in module variables, and values that can be computed from the "
                     "rest need not be kept.")
        findings.unjudged("what moves do, symmetries, hidden information and statistics", "the state is too large")
    elif not findings.errors():  # these checks need correct rules
        check_symmetries(game, findings, seed)
        check_moves(game, findings, seed)
        if not too_large(int(np.prod(game.observation_shape)), findings):  # a record of them would fill the memory
            check_prediction(record_game(game, seed), findings)
        check_statistics(game, findings, 10 * games, seed)
    return findings.sorted()


class _Guarded:
    """An array within a larger one, to detect writes outside its bounds."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, fill: int) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.fill, self.end = fill, _GUARD + size
        self.raw = np.empty(self.end + _GUARD, np.uint8)
        self.array = self.raw[_GUARD:self.end].view(dtype).reshape(shape)
        self.refill()

    def refill(self) -> None:
        self.raw[:] = self.fill

    def inside(self) -> bytes:
        return self.raw[_GUARD:self.end].tobytes()

    def overrun(self) -> bool:
        return bool((self.raw[:_GUARD] != self.fill).any() or (self.raw[self.end:] != self.fill).any())


class _Table:
    """One copy of the game, with buffers filled with one byte before the rules write to them."""

    def __init__(self, game: Game, fill: int) -> None:
        self.game = game
        self.state = _Guarded((1,), game.state_dtype, fill)
        self.mask = _Guarded((game.num_actions,), np.bool_, fill)
        self.observation = _Guarded(game.observation_shape, game.observation_dtype, fill)
        self.record = self.state.array[0]  # a view
        self.seat, self.reward, self.ended = 0, 0.0, False

    def start(self, seed: int) -> None:
        self.state.refill()
        self.game.init(self.record, np.uint64(seed))

    def look(self) -> str | None:
        """Fill mask, observation and seat. Returns the name of a read-only function that changed the state, if any."""
        self.mask.refill()
        self.observation.refill()
        before, blame = self.state.inside(), None
        for rule, out in (("legal_actions", (self.mask.array,)), ("observe", (self.observation.array,)),
                          ("to_play", ())):
            answer = getattr(self.game, rule)(self.record, *out)
            if self.state.inside() != before:
                before, blame = self.state.inside(), blame or rule
        self.seat = int(answer)
        return blame

    def step(self, action: int) -> None:
        reward, ended = self.game.step(self.record, np.int64(action))
        self.reward = float(np.sign(reward) if self.game.rewards == "outcome" else reward)
        self.ended = bool(ended)


class _GameCheck:
    """One random game on two copies."""

    def __init__(self, game: Game, tables: list[_Table], findings: Findings) -> None:
        self.game, self.tables, self.findings = game, tables, findings
        self.history: list[int] = []

    def error(self, check: str, message: str, advice: str) -> None:
        moves = tuple(_name(self.game, action) for action in self.history)
        self.findings.add("error", check, f"{self.game.name}, ply {len(self.history)}: {message}", advice, moves)

    def play(self, random: np.random.Generator, seed: int) -> None:
        game, first = self.game, self.tables[0]
        for table in self.tables:
            table.start(seed)
        self._check_start()
        if not self._look():
            return
        returns = [0.0, 0.0]
        while len(self.history) < game.max_plies:
            legal = np.flatnonzero(first.mask.array)
            if len(legal) == 0:
                self.error("legal-actions", "no action is legal, but the game is not over.",
                           "A player who cannot move passes by an action of its own, legal only then; a game in which "
                           "nobody can move is over: let step return True.")
                return
            seat, action = first.seat, int(random.choice(legal))
            for table in self.tables:
                table.step(action)
            self.history.append(action)
            if not self._check_step():
                return
            reward, ended = first.reward, first.ended
            returns[seat] += reward
            returns[1 - seat] -= reward
            self._check_range(reward, returns[:game.num_players])
            if not self._look():
                return
            if ended:
                self._check_end()
                return
            self._check_turn(seat)

    def _check_start(self) -> None:
        first, second = (table.state.array for table in self.tables)
        left = [field for field in self.game.state_dtype.names or ()
                if first[field].tobytes() != second[field].tobytes()]
        if left:
            self.findings.add("error", "init", f"{self.game.name}: init does not write all of {', '.join(left)}, or "
                              "writes different values each time: a new game starts with values left by the last one.",
                              "Write every field of the state in init; draw random numbers from the seed only.")

    def _look(self) -> bool:
        """Observe both copies and compare. Returns False if the game cannot go on."""
        game, (first, second) = self.game, self.tables
        blames = [table.look() for table in self.tables]
        for blame in filter(None, blames):
            self.error("looking-changes", f"{blame} changes the state.", "Only init and step may write the state.")
        for name, rule in (("mask", "legal_actions"), ("observation", "observe")):
            one, two = getattr(first, name), getattr(second, name)
            if one.overrun() or two.overrun():
                self.error("overrun", f"{rule} writes outside its array, into memory that belongs to something else.",
                           f"Its array has shape {one.array.shape}: compare with the loop in {rule}.")
                return False
            if one.inside() != two.inside():
                self._explain_difference(name, rule)
                return False
        if first.seat != second.seat:
            self.error("determinism", "to_play differs for the same game played twice.", _DETERMINISM)
            return False
        if first.seat not in range(game.num_players):
            self.error("to-play", f"to_play is {first.seat} in a game of {game.num_players} player(s).",
                       "Seats are 0 and 1; in a single-player game always 0.")
            return False
        if (first.mask.array.view(np.uint8) > 1).any():
            self.error("mask-values", "legal_actions writes values other than True and False.",
                       "Write a comparison, such as mask[a] = board[a] == 0.")
            return False
        observation = first.observation.array
        if observation.dtype.kind == "f" and not np.isfinite(observation).all():
            self.error("observation-finite", "the observation holds NaN or infinity.",
                       "Write finite numbers in observe.")
        self._check_observation_range(observation)
        return True

    def _check_observation_range(self, observation: np.ndarray) -> None:
        low, high = self.game.observation_range
        least, most = observation.min(), observation.max()
        if least < low or most > high:
            self.error("observation-range", f"the observation holds numbers from {least:g} to {most:g}, outside "
                       f"observation_range ({low:g}, {high:g}).", "Correct observe, or give the range that it has.")

    def _explain_difference(self, name: str, rule: str) -> None:
        first, second = (getattr(table, name).array for table in self.tables)
        size = first.size
        one, two = (part.reshape(size, -1) for part in (np.ascontiguousarray(first).view(np.uint8),
                                                        np.ascontiguousarray(second).view(np.uint8)))
        unwritten = np.flatnonzero(((one == _FILLS[0]) & (two == _FILLS[1])).all(1))
        if len(unwritten) == (one != two).any(1).sum():
            place = tuple(int(i) for i in np.unravel_index(unwritten[0], first.shape))
            self.error(f"{rule}-unwritten", f"{rule} leaves {len(unwritten)} of {size} entries unwritten, the first at "
                       f"{place}: they hold whatever was in memory.", f"Write every entry in {rule}, zeros too.")
        else:
            self.error("determinism", f"{rule} gives different results when the same game is played "
                       "twice.", _DETERMINISM)

    def _check_step(self) -> bool:
        first, second = self.tables
        if first.state.overrun() or second.state.overrun():
            self.error("overrun", "step writes outside the state, into memory that belongs to something else.",
                       "Compare the indices in step with the shapes in state_dtype.")
            return False
        if not np.isfinite(first.reward):
            self.error("reward-finite", f"the reward is {first.reward}.", "Return a finite reward from step.")
            return False
        if first.reward != second.reward or first.ended != second.ended:
            self.error("determinism", f"the same game played twice gives reward {first.reward:g} and "
                       f"{second.reward:g}, ended {first.ended} and {second.ended}.", _DETERMINISM)
            return False
        return True

    def _check_range(self, reward: float, returns: list[float]) -> None:
        low, high = self.game.reward_range
        slack = 1e-4 * max(1.0, abs(low), abs(high))
        if not low - slack <= reward <= high + slack:
            self.error("reward-range", f"the reward is {reward:g}, outside reward_range ({low:g}, {high:g}).",
                       "Correct step, or widen reward_range.")
        for seat, total in enumerate(returns):
            if not low - slack <= total <= high + slack:
                self.error("return-range", f"the rewards of seat {seat} (less the opponent's, if there is one) sum to "
                           f"{total:g}, outside reward_range ({low:g}, {high:g}).",
                           "reward_range must hold the sum of a game's rewards for one seat too.")

    def _check_turn(self, seat: int) -> None:
        now = self.tables[0].seat
        if self.game.num_players == 2 and now == seat:
            self.error("alternation", f"player {seat} moves twice in a row. Search and replay assume that players "
                       "alternate, and would give rewards and values to the wrong player.",
                       "Switch the player on every step; a player who cannot move passes by an action of its own.")

    def _check_end(self) -> None:
        if not self.tables[0].mask.array.all():
            self.error("end-mask", "the game is over, but not all actions are legal.",
                       "After the end write True for every action, so that code that asks once more always finds a "
                       "legal action.")


_DETERMINISM = ("All randomness must come from the seed given to init and be kept in the state: no np.random, no "
                "module variables, no field that init leaves unwritten.")


def _name(game: Game, action: int) -> str:
    try:
        return game.action_name(action)
    except Exception:  # reported by _check_description
        return str(action)


def _check_description(game: Game, findings: Findings) -> None:
    low, high = game.reward_range
    if not (np.isfinite(low) and np.isfinite(high) and low < high and low <= 0 <= high):
        findings.add("error", "reward-range", f"{game.name}: reward_range {game.reward_range} must be two finite "
                     "numbers, the lower first, with 0 between them.")
    if game.num_players == 2 and low != -high:
        findings.add("error", "zero-sum", f"{game.name}: reward_range {game.reward_range} is not symmetric around 0, "
                     "but what one player wins the other loses.",
                     f"Give ({-max(-low, high):g}, {max(-low, high):g}).")
    names: dict[str, int] = {}
    for action in range(game.num_actions):
        try:
            name = game.action_name(action)
        except Exception as error:
            findings.add("error", "action-names", f"{game.name}: action_name({action}) fails: {type(error).__name__}: "
                         f"{error}.", f"It must name every action from 0 to {game.num_actions - 1}.")
            break
        if name in names:
            findings.add("error", "action-names", f"{game.name}: actions {names[name]} and {action} have the same "
                         f"name {name!r}.", "Give every action a name of its own.")
        names[name] = action
        try:
            parsed: Any = game.parse_action(name)
        except Exception as error:
            parsed = f"{type(error).__name__}: {error}"
        if parsed != action:
            findings.add("error", "action-names", f"{game.name}: action {action} is called {name!r}, but parse_action "
                         f"of that gives {parsed!r}.", "parse_action must be the inverse of action_name.")
    try:
        game.render(game.new_states(1)[0])
    except Exception as error:
        findings.add("error", "render", f"{game.name}: render fails on the start position: "
                     f"{type(error).__name__}: {error}", "render takes one state and returns text.")
    if game.draw is not None:
        _check_draw(game, findings)


def _check_draw(game: Game, findings: Findings) -> None:
    assert game.draw is not None
    try:
        image = game.draw(game.new_states(1)[0])
        fault = "" if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 else (
            f"gives {image.dtype} {list(image.shape)}")
    except Exception as error:
        fault = f"fails: {type(error).__name__}: {error}"
    if fault:
        findings.add("error", "draw", f"{game.name}: draw on the start position {fault}.",
                     "draw takes one state and returns an image, uint8 [height, width, 3].")
