"""Tests the effects of a game's moves: equal for both seats, only on free cells, and different from each other."""

from __future__ import annotations

import numpy as np

from myosu.doctor.action_effects import Effects, Moment, Trial, check_aliases, check_dead, check_merging
from myosu.doctor.finding import Findings
from myosu.doctor.game_positions import Positions, all_moves, random_positions
from myosu.doctor.gym_statistics import constant_channels
from myosu.games.game import Game

#: Number of games played, and number of positions in which all moves are tried; fewer, down to the last number, if the
#: observations after all moves would take more than these bytes.
_GAMES, _POSITIONS, _TRIED_BYTES, _LEAST_POSITIONS = 300, 600, 512 << 20, 20
#: Minimum number of moves of a seat; fraction of cells that both seats' moves must share on average, and for one
#: action, if one seat's cell is always the same; difference between the seats' fractions of idle moves from which it is
#: reported.
_ENOUGH, _SHARED, _ELSEWHERE, _MORE_OFTEN = 20, 0.5, 0.8, 0.15
#: Minimum number of moves that break a rule, and minimum fraction; fewer may be special cases.
_FEW, _SHARE = 5, 0.01
#: With at most this many planes, a constant one is a mistake; of more planes, some may never change in random play.
_FEW_PLANES = 8
#: Correlation of the heuristic with the outcome below which it is from the wrong player's view, in standard errors and
#: absolute; number of positions, maximum number of games and maximum bytes of their states.
_ERRORS, _AGAINST, _GUESSES, _GUESSED_GAMES, _GUESSED_BYTES = 3.5, 0.05, 12_000, 2000, 32 << 20


def check_moves(game: Game, findings: Findings, seed: int) -> None:
    positions = random_positions(game, _GAMES, _POSITIONS, seed)
    _check_planes(game, positions, findings)
    if game.heuristic is not None:
        # A heuristic that varies little needs many games to be judged.
        games = int(np.clip(_GUESSED_BYTES / (game.max_plies * game.state_dtype.itemsize), _GAMES, _GUESSED_GAMES))
        _check_heuristic(game, random_positions(game, games, _GUESSES, seed), findings)
    of_moves = game.num_actions * int(np.prod(game.observation_shape)) * np.dtype(np.float64).itemsize
    count = int(np.clip(_TRIED_BYTES // of_moves, _LEAST_POSITIONS, _POSITIONS))
    positions = Positions(*(column[:count] for column in vars(positions).values()))
    moments = [_moment(game, positions, index) for index in range(len(positions.states))]
    if game.num_players == 2 and len(game.observation_shape) == 3 and game.observation_shape[0] >= 2:
        _Placements(game, positions, moments).check(findings)
    effects = Effects(moments, single=True)
    if game.num_actions > 1 and not findings.has("seat-moves", "mask-illegal", "overwriting"):
        dead = check_dead(effects, game.num_actions, findings, {game.pass_action})
        check_aliases(effects, dead, findings)
        if game.num_players == 2 and not findings.has("aliased-actions"):
            check_merging(effects, findings)


def _moment(game: Game, positions: Positions, index: int) -> Moment:
    """Try all legal moves of a position. Afterwards the observation is seen from the side of the player who moved."""
    mask = positions.masks[index]
    legal = np.flatnonzero(mask)
    after, shown, masks, rewards, ended = all_moves(game, positions.states[index:index + 1], legal)
    if game.num_players == 2 and len(game.observation_shape) == 3 and game.observation_shape[0] >= 2:
        shown = shown[:, [1, 0, *range(2, game.observation_shape[0])]]
    shown = shown.reshape(len(legal), -1).astype(np.float64)
    trials = {int(action): Trial(shown[k], float(rewards[k]), bool(ended[k]), False,
                                 shown[k].tobytes() + masks[k].tobytes() + rewards[k].tobytes() + ended[k].tobytes(),
                                 after[k].tobytes())
              for k, action in enumerate(legal)}
    return Moment(positions.observations[index].reshape(-1).astype(np.float64), mask, trials)


def _check_planes(game: Game, positions: Positions, findings: Findings) -> None:
    shape = game.observation_shape
    if len(shape) < 2 or len(positions.states) < 100:
        return
    constant = constant_channels(positions.observations, 1)
    if constant:
        findings.add("warning" if shape[0] <= _FEW_PLANES else "info", "constant-observation", f"{game.name}: plane "
                     f"{', '.join(map(str, constant))} of the observation was the same in all of "
                     f"{len(positions.states)} random positions.", "Nothing can be learnt from it: correct the code "
                     "that should write it (an integer division makes fractions 0), or leave it out.")


def _check_heuristic(game: Game, positions: Positions, findings: Findings) -> None:
    """Compare the heuristic with the outcome, for each seat, in the later half of games. It must be from the view of
    the player to move."""
    assert game.heuristic is not None
    guesses = np.array([game.heuristic(state) for state in positions.states])
    if np.ptp(guesses) == 0:
        findings.add("warning", "heuristic", f"{game.name}: heuristic gives {guesses[0]:g} in all of {len(guesses)} "
                     "random positions.", "Only alpha-beta uses it, and a constant cannot rank positions.")
        return
    for seat in range(game.num_players):
        of_seat = (positions.seats == seat) & (positions.progress > 0.5)
        x, y = guesses[of_seat], positions.outcomes[of_seat]
        if len(x) >= 50 and x.std() > 0 and y.std() > 0 and (
                correlation := np.corrcoef(x, y)[0, 1]) < -max(_AGAINST, _ERRORS / np.sqrt(len(x))):
            findings.add("warning", "heuristic", f"{game.name}: the higher the heuristic for seat {seat} to move, the "
                         f"less it earned in {len(x)} positions of random games (correlation {correlation:+.2f}).",
                         "heuristic(state) estimates what the player to move will earn, whichever seat that is. "
                         "If it is right, step gives rewards to the wrong player.")
            return


class _Placements:
    """Moves as changes of cells. Planes 0 and 1 of the observation are those of the mover and of the opponent."""

    def __init__(self, game: Game, positions: Positions, moments: list[Moment]) -> None:
        self.game, size = game, int(np.prod(game.observation_shape[1:]))
        self.cells: dict[tuple[int, int], list[int]] = {}  # (action, seat) → cells newly taken
        self.of_seat = np.zeros((2, 4), np.int64)  # [seat]: moves; of those, took a free cell, did nothing, overwrote
        self.moves: list[tuple[int, np.ndarray, np.ndarray]] = []
        self.plain = True  # whether every move takes one free cell and does nothing else
        self.turned: list[tuple[np.ndarray, bool]] = []  # moves to a free cell: its planes, whether any flipped
        self.taken = np.zeros(size, np.bool_)  # cells taken in any position
        for moment, seat in zip(moments, positions.seats, strict=True):
            before = moment.observation[:2 * size].reshape(2, size) != 0
            self.moves.append((int(seat), moment.mask, before.any(axis=0)))
            self.taken |= before.any(axis=0)
            for action, trial in moment.trials.items():
                if action == game.pass_action:
                    continue
                after = trial.observation[:2 * size].reshape(2, size) != 0
                others = slice(2 * size, None)  # a plane may mark the cell as used, such as where a brush was
                marked = action < size and bool(
                    ((moment.observation[others].reshape(-1, size)[:, action] == 0)
                     & (trial.observation[others].reshape(-1, size)[:, action] != 0)).any())
                self._add(action, int(seat), before, after, marked)
                if action < size and after[0, action] and not before[:, action].any():
                    self.turned.append((moment.observation.reshape(-1, size)[2:, action] != 0,
                                        bool((before[1] & after[0]).any())))

    def _add(self, action: int, seat: int, before: np.ndarray, after: np.ndarray, marked: bool) -> None:
        self.taken |= after.any(axis=0)
        taken = np.flatnonzero(after.any(axis=0) & ~before.any(axis=0))
        differs = np.flatnonzero((before != after).any(axis=0))
        self.cells.setdefault((action, seat), []).extend(taken.tolist())
        vanished = len(differs) == 1 and len(taken) == 0 and bool(before[1, differs[0]] and after[0, differs[0]])
        self.of_seat[seat] += [1, len(taken) > 0, len(differs) == 0 and not marked, vanished and not marked]
        self.plain &= len(differs) == len(taken) == 1

    def check(self, findings: Findings) -> None:
        moves, takes, nothing, overwrites = self.of_seat.sum(axis=0)
        if moves == 0 or takes < 0.3 * moves:
            return  # not a game of placing pieces
        if self._check_seats(findings) or self._check_places(findings):
            return
        if overwrites >= _FEW and overwrites > _SHARE * moves:
            findings.add("warning", "overwriting", f"{self.game.name}: {overwrites} of {moves} legal moves put a piece "
                         "where one of the opponent's was, and it vanished, while most moves take a free cell.",
                         "legal_actions must not list occupied cells.")
        if nothing >= _FEW and nothing > _SHARE * moves:
            findings.add("warning", "mask-illegal", f"{self.game.name}: {nothing} of {moves} moves that legal_actions "
                         "lists changed nothing on the board, while most take a free cell.",
                         "legal_actions must not list occupied cells.")
        if self.plain:
            self._check_missing(findings)
        self._check_turning(findings)

    def _check_turning(self, findings: Findings) -> None:
        """Whether some legal moves flip pieces and others do not, as in Othello with a mask of all empty cells. It is
        certain if a plane of the observation shows exactly the moves that flip."""
        planes = np.array([shown for shown, _ in self.turned])
        turned = np.array([any_turned for _, any_turned in self.turned], np.bool_)
        idle = int((~turned).sum())
        if min(idle, int(turned.sum())) < _ENOUGH or idle < _SHARE * len(turned):
            return
        known = np.flatnonzero((planes == turned[:, None]).all(axis=0)) + 2
        message = (f"{self.game.name}: {len(turned) - idle} of {len(turned)} legal moves to a free cell turned pieces "
                   f"of the opponent over, {idle} turned none")
        if len(known):
            findings.add("warning", "mask-illegal", f"{message}; plane {known[0]} of the observation shows exactly "
                         "those that do.", "legal_actions lists more than observe shows as "
                         "legal: both must use the same rule.")
        else:
            findings.add("info", "mask-illegal", f"{message}.", "Right where turning pieces over is a gain (Ataxx); in "
                         "Othello a move that turns none is illegal.")

    def _check_seats(self, findings: Findings) -> bool:
        """Whether the moves of one seat do nothing, or overwrite pieces, more often than the other's."""
        shares = self.of_seat / np.maximum(self.of_seat[:, :1], 1)
        if self.of_seat[:, 0].min() < _ENOUGH:
            return False
        for column, what in ((2, "changed nothing on the board"), (3, "overwrote a piece of the opponent")):
            worse = int(shares[:, column].argmax())
            if shares[worse, column] - shares[1 - worse, column] > _MORE_OFTEN:
                findings.add("warning", "seat-moves", f"{self.game.name}: {shares[worse, column]:.0%} of the moves of "
                             f"seat {worse} {what}, of seat {1 - worse} {shares[1 - worse, column]:.0%}.",
                             "The rules are not the same for both: check every place that reads the player. "
                             "Self-play will show one seat winning by far.")
                return True
        return False

    def _check_places(self, findings: Findings) -> bool:
        """Whether an action takes different cells for the two seats."""
        shared, example, sure = [], "", False
        for action in range(self.game.num_actions):
            one, two = (np.array(self.cells.get((action, seat), ()), np.int64) for seat in (0, 1))
            if min(len(one), len(two)) < 5:
                continue
            most = int(max(one.max(), two.max())) + 1
            counts = [np.bincount(cells, minlength=most) / len(cells) for cells in (one, two)]
            shared.append(float(np.minimum(*counts).sum()))
            # Some actions only: one seat always takes the same cell, the other often takes a different one.
            sure |= max(map(np.max, counts)) == 1 and min(len(one), len(two)) >= _ENOUGH and shared[-1] < _ELSEWHERE
            if shared[-1] < 0.5 or (sure and not example):
                places = [int(count.argmax()) for count in counts]
                example = example or (f"{self.game.action_name(action)} mostly takes cell {places[0]} for seat 0 and "
                                      f"{places[1]} for seat 1 (they share {shared[-1]:.0%})")
        if len(shared) < 3 or (float(np.mean(shared)) >= _SHARED and not sure):
            return False
        findings.add("warning", "seat-moves", f"{self.game.name}: the same action does not do the same for both seats: "
                     f"{example}; the cells that their moves take overlap by {np.mean(shared):.0%}.", "An action must "
                     "mean the same cell for both players: check every place in step that reads the player. (Right "
                     "only if each player sees the board from its own side, and then observe must rotate it as well.)")
        return True

    def _check_missing(self, findings: Findings) -> None:
        """Find illegal actions with a free cell, in games where each move only takes one free cell."""
        cells = {action: set(self.cells.get((action, 0), ())) | set(self.cells.get((action, 1), ()))
                 for action in range(self.game.num_actions)}
        if all(of == {action} for action, of in cells.items() if of):
            cells = {action: {action} for action in cells}  # an action that was never legal would take its own cell too
        missing, example = 0, ""
        for _, mask, occupied in self.moves:
            for action in np.flatnonzero(~mask).tolist():
                free = [cell for cell in cells[action] if cell < len(occupied) and not occupied[cell]]
                if free:
                    missing += 1
                    example = example or f"{self.game.action_name(action)} with cell {free[0]} free"
        never = np.flatnonzero(~self.taken)
        if missing < _FEW and 0 < len(never) <= len(self.taken) / 4:
            findings.add("warning", "mask-missing", f"{self.game.name}: nobody ever took cell "
                         f"{', '.join(map(str, never[:8].tolist()))} in {len(self.moves)} random positions, and no "
                         "legal move would.", "legal_actions leaves them out: check its loop's bounds and its test "
                         "for a full cell.")
        if missing >= _FEW:
            findings.add("warning", "mask-missing", f"{self.game.name}: {missing} times in {len(self.moves)} random "
                         f"positions legal_actions left out an action whose cell was free ({example}).",
                         "Agents can never play what the mask leaves out: check its loop's bounds. Right if the rules "
                         "forbid free cells.")
