"""The interface of a game: compiled scalar functions on a small record, and their batched versions.

Sign convention (``docs/convention.md``): a reward belongs to the player who just moved, a value to the player to move.
Two-player games are zero-sum and the players alternate strictly: a player who cannot move passes by an explicit action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numba
import numpy as np

from myosu.errors import UserError
from myosu.games.cache import TolerantCache
from myosu.games.loops import compiled_loop


def compiled(rule: Callable) -> Any:
    """Decorator of a game's rules: compiles a scalar function and caches it in ``__pycache__`` beside its file."""
    dispatcher: Any = numba.njit(error_model="numpy")(rule)
    dispatcher._cache = TolerantCache(rule)
    return dispatcher


@dataclass(frozen=True)
class Symmetries:
    """The symmetry group of a game, as permutations. Row 0 is the identity.

    cells: int64 [S, H*W]; plane cell ``i`` of the transformed observation is cell ``cells[s, i]`` of the original
        (applied to every plane of an observation of shape [C, H, W]).
    actions: int64 [S, num_actions]; likewise, entry ``i`` of a transformed policy is entry ``actions[s, i]``.
    planes: int64 [S, C], if planes encode directions that rotate with the board: plane ``i`` of the transformed
    observation is plane ``planes[s, i]`` of the original. None: planes are not permuted.
    """

    cells: np.ndarray
    actions: np.ndarray
    planes: np.ndarray | None = None

    @cached_property
    def inverse_actions(self) -> np.ndarray:
        """int64 [S, num_actions]: the action to which symmetry ``s`` maps action ``a``."""
        return np.argsort(self.actions, axis=1)

    # The methods below transform B arrays, each by its own symmetry ``drawn`` int64 [B]. With ``rows`` int64 [B, n]
    # they also gather these rows of the array, in the same pass over memory; the result is [B, n, ...].

    def boards(self, boards: np.ndarray, drawn: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Boards [B, ..., H, W] with their cells permuted."""
        return _moved(boards, self.cells, drawn, rows)

    def observations(self, observations: np.ndarray, drawn: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Observations [B, ..., C, H, W] with permuted cells, and permuted planes if they encode directions."""
        turned = self.boards(observations, drawn, rows)
        if self.planes is None:
            return turned
        by_plane = turned.reshape(len(turned), -1, *turned.shape[-3:])
        planes = self.planes[drawn][:, None, :, None, None]
        return np.take_along_axis(by_plane, planes, axis=2).reshape(turned.shape)

    def moved(self, actions: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Actions int64 [B, n], mapped by the symmetries."""
        return np.take_along_axis(self.inverse_actions[drawn], actions, axis=1)

    def by_action(self, values: np.ndarray, drawn: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Arrays indexed by action (policies, masks), [B, ..., A], permuted."""
        return _moved(values, self.actions, drawn, rows)

    def augment(self, batch: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Transform each of the B rows by a random symmetry: the columns ``observation``, ``legal_actions`` (both also
        with ``next_`` before them) and ``action``, integers [B] or [B, n]. Other columns stay as they are."""
        drawn = rng.integers(0, len(self.actions), len(batch["observation"]))
        turned = {}
        for name, values in batch.items():
            if name in ("observation", "next_observation"):
                turned[name] = self.observations(values, drawn)
            elif name in ("legal_actions", "next_legal_actions"):
                turned[name] = self.by_action(values, drawn)
            elif name == "action":
                actions = values.astype(np.int64, copy=False).reshape(len(drawn), -1)
                turned[name] = self.moved(actions, drawn).reshape(values.shape)
        return batch | turned


def _moved(values: np.ndarray, permutations: np.ndarray, drawn: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    shape = values.shape if rows is None else (*rows.shape, *values.shape[1:])
    flat = values.reshape(len(values), -1, permutations.shape[1])
    if flat.dtype == np.float16:  # Numba does not support float16; any 16-bit type works for copying
        flat = flat.view(np.uint16)
    rows = np.arange(len(values))[:, None] if rows is None else rows
    return _permuted(flat, rows, permutations, drawn).view(values.dtype).reshape(shape)


@numba.njit(cache=True, nogil=True)
def _permuted(values, rows, permutations, drawn):
    """values[rows], [B, n, p, m], with the last axis permuted by permutations[drawn]. values: [N, p, m]. rows: [B, n].
    permutations: [S, m]. drawn: [B]."""
    permuted = np.empty((*rows.shape, *values.shape[1:]), values.dtype)
    for i in range(len(rows)):
        order = permutations[drawn[i]]
        for j in range(rows.shape[1]):
            for p in range(values.shape[1]):
                source, target = values[rows[i, j], p], permuted[i, j, p]
                for k in range(len(order)):
                    target[k] = source[order[k]]
    return permuted


@dataclass(frozen=True, eq=False)
class Game:
    """The rules of one game.

    Every function below takes ``state``, one record of dtype ``state_dtype``, and is decorated with ``compiled``
    (except ``render`` and the action names, which are plain Python).

    init(state, seed): write the initial position. ``seed`` (uint64) matters only in games with chance.
    legal_actions(state, mask): write bool [num_actions]. At least one is true before the end; all are true after it.
    step(state, action) -> (reward, terminated): the reward belongs to the player who moves.
    observe(state, out): write ``observation_shape`` of ``observation_dtype``, in the view of the player to move.
    to_play(state) -> 0 or 1: the seat to move. Always 0 in a single-player game.
    render(state) -> str: the position as text.
    """

    name: str
    num_players: Literal[1, 2]
    num_actions: int
    observation_shape: tuple[int, ...]
    state_dtype: np.dtype
    init: Callable
    legal_actions: Callable
    step: Callable
    observe: Callable
    to_play: Callable
    render: Callable[[Any], str]
    #: Range of one reward, and of the sum of a game's rewards for one seat.
    reward_range: tuple[float, float]
    #: Number of plies after which a game is truncated.
    max_plies: int
    observation_dtype: type = np.uint8
    #: Minimum and maximum of an observation's entries.
    observation_range: tuple[float, float] = (0, 1)
    #: The usual notation of an action ("d3"); ``parse_action`` is the inverse and raises ValueError for other text.
    action_name: Callable[[int], str] = str
    parse_action: Callable[[str], int] = int
    symmetries: Symmetries | None = None
    #: The action that passes, in games that have one.
    pass_action: int | None = None
    #: heuristic(state) -> float, compiled: an estimate of the future rewards, in the view of the player to move. Only
    #: the alpha-beta player uses it.
    heuristic: Callable | None = None
    #: score(state) -> float, compiled, in games decided by points: the first seat's lead in the current position.
    score: Callable | None = None
    #: draw(state) -> uint8 [H, W, 3]: the position as an image, in plain Python; None: only ``render``.
    draw: Callable[[Any], np.ndarray] | None = None
    #: In single-player games that can be won: an episode whose return exceeds this is a win.
    success_return: float | None = None
    #: Frames per second when the game is displayed.
    fps: int = 2
    #: "score": rewards as ``step`` returns them; "outcome": only their sign, so that only winning counts.
    rewards: Literal["score", "outcome"] = "score"

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_types(self)

    def with_outcome_rewards(self) -> Game:
        """The same game with rewards −1, 0 or +1 (loss, draw, win)."""
        return replace(self, rewards="outcome", reward_range=(-1.0, 1.0), success_return=None)

    @cached_property
    def batch(self) -> Batch:
        """The rules for arrays of states, compiled on first use in a process."""
        return Batch(self)

    def new_states(self, count: int, seed: int = 0) -> np.ndarray:
        """``count`` initial positions, [count] of ``state_dtype``."""
        states = np.zeros(count, self.state_dtype)
        self.batch.init(states, np.arange(count, dtype=np.uint64) + np.uint64(seed))
        return states


def _check_sizes(game: Game) -> None:
    def wrong(name: str, needed: str) -> UserError:
        return UserError(f"{game.name}: {name} is {getattr(game, name)!r}, but must be {needed}.")

    for name in ("num_actions", "max_plies"):
        if not isinstance(getattr(game, name), (int, np.integer)) or getattr(game, name) < 1:
            raise wrong(name, "a whole number of at least 1")
    shape, limits = game.observation_shape, game.reward_range
    if not isinstance(shape, tuple) or not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise wrong("observation_shape", "a tuple of whole numbers, such as (2, 3, 3) or (9,)")
    if not isinstance(limits, tuple) or len(limits) != 2 or not all(isinstance(r, (int, float)) for r in limits):
        raise wrong("reward_range", "the lowest and the highest reward, such as (-1.0, 1.0)")


def _check_types(game: Game) -> None:
    """Raise UserError that names the field or type that Numba cannot compile; Numba's own message does not."""
    state = np.dtype(game.state_dtype)
    if not state.names:
        raise UserError(f"{game.name}: state_dtype is {state}, but must be a record: "
                        'np.dtype([("field", type), ...], align=True).')
    _check_fields(f"{game.name}: the state's field", state, "")
    observation = np.dtype(game.observation_dtype)
    if not (observation.kind in "biu" or observation in (np.float32, np.float64)):
        raise UserError(f"{game.name}: observation_dtype is {observation}, which Numba cannot compile: give np.uint8, "
                        "np.float32 or another type of whole numbers.")


def _check_fields(what: str, record: np.dtype, prefix: str) -> None:
    for name in record.names or ():
        base, shape = record[name].subdtype or (record[name], ())
        if base.names:
            _check_fields(what, base, f"{prefix}{name}.")
        elif instead := _compiled_instead(base, shape):
            raise UserError(f"{what} {prefix + name!r} is {'an array of ' if shape else 'of type '}{base}, which Numba "
                            f"cannot compile: {instead}.")


def _compiled_instead(base: np.dtype, shape: tuple[int, ...]) -> str:
    """The advice for a type that Numba does not support in a record; "" if it is supported."""
    if base.kind == "b":
        return "write np.uint8, which holds True and False as 1 and 0" if shape else ""
    if not base.isnative:
        return f"write {base.newbyteorder('=')}, in this machine's byte order"
    if base.kind in "iucS" or base in (np.float32, np.float64):
        return ""
    if base.kind == "f":
        return "write np.float32 or np.float64"
    if base.kind == "U":
        return "write an array of np.uint8 or np.uint32, one number per letter"
    return "keep numbers in the state, and arrays of numbers"


class Batch:
    """The rules of ``game`` for arrays of n states: compiled loops over the scalar functions.

    init(states, seeds uint64 [n])
    legal_actions(states, out bool [n, A])
    step(states, actions int64 [n], rewards float32 [n], terminated bool [n])
    observe(states, out [n, *observation_shape])
    to_play(states, out int8 [n])
    """

    def __init__(self, game: Game) -> None:
        init, legal_actions, observe, to_play = game.init, game.legal_actions, game.observe, game.to_play
        step = game.step
        outcome = game.rewards == "outcome"

        @compiled_loop
        def init_batch(states, seeds):
            for i in range(len(states)):
                init(states[i], seeds[i])

        @compiled_loop
        def legal_batch(states, out):
            for i in range(len(states)):
                legal_actions(states[i], out[i])

        @compiled_loop
        def observe_batch(states, out):
            for i in range(len(states)):
                observe(states[i], out[i])

        @compiled_loop
        def to_play_batch(states, out):
            for i in range(len(states)):
                out[i] = to_play(states[i])

        @compiled_loop
        def step_batch(states, actions, rewards, terminated):
            for i in range(len(states)):
                reward, end = step(states[i], actions[i])
                rewards[i] = np.sign(reward) if outcome else reward
                terminated[i] = end

        self.init, self.legal_actions, self.step = init_batch, legal_batch, step_batch
        self.observe, self.to_play = observe_batch, to_play_batch
