"""Tests whether a game's symmetries form a group and leave its rules unchanged."""

from __future__ import annotations

import numpy as np

from myosu.doctor.finding import Findings
from myosu.games.game import Game


def check_symmetries(game: Game, findings: Findings, seed: int, games: int = 20) -> None:
    """Check the shapes and the group property, and play transformed games alongside the originals, for symmetries that
    keep the start position."""
    symmetries = game.symmetries
    if symmetries is None:
        return
    if len(game.observation_shape) != 3:
        findings.add("error", "symmetries", f"{game.name}: symmetries need an observation of shape [C, H, W], not "
                     f"{game.observation_shape}.", "Leave symmetries out.")
        return
    cells = int(np.prod(game.observation_shape[1:]))
    planes = _planes(game)
    for name, table, size in (("cells", symmetries.cells, cells), ("actions", symmetries.actions, game.num_actions),
                              ("planes", planes, game.observation_shape[0])):
        if table.ndim != 2 or table.shape[1] != size or (np.sort(table, axis=1) != np.arange(size)).any():
            findings.add("error", "symmetries", f"{game.name}: symmetries.{name} of shape {table.shape} must hold in "
                         f"each row the numbers 0 to {size - 1}, each once.")
            return
        if (table[0] != np.arange(size)).any():
            findings.add("error", "symmetries", f"{game.name}: row 0 of symmetries.{name} must be the identity.")
            return
    parts = (symmetries.cells, symmetries.actions, planes)
    rows = {tuple(row.tobytes() for row in rows) for rows in zip(*parts, strict=True)}
    for one in range(len(symmetries.cells)):
        for two in range(len(symmetries.cells)):
            if tuple(part[one][part[two]].tobytes() for part in parts) not in rows:
                findings.add("error", "symmetries", f"{game.name}: symmetry {two} after symmetry {one} is not one of "
                             "them.", "Add the missing ones, or correct cells and actions: they must match.")
                return
    if _has_chance(game, seed):
        return  # the rules are symmetric on average only, because chance differs between the games
    random = np.random.default_rng(seed)
    for number in range(games):
        original = _Line(game, seed + number)
        others = [(s, _Line(game, seed + number)) for s in range(1, len(symmetries.cells))]
        others = [(s, other) for s, other in others if _same(game, original, other, s)]
        history: list[int] = []
        while not original.ended and len(history) < game.max_plies:
            action = int(random.choice(np.flatnonzero(original.mask)))
            history.append(action)
            original.step(action)
            for s, other in others:
                other.step(int(symmetries.inverse_actions[s, action]))
                if not _same(game, original, other, s):
                    findings.add("error", "symmetries", f"{game.name}, ply {len(history)}: playing the game "
                                 f"transformed by symmetry {s} does not give the transformed position, legal "
                                 "actions and reward.",
                                 "Correct symmetries.cells and symmetries.actions of that row.",
                                 tuple(game.action_name(a) for a in history))
                    return


def _planes(game: Game) -> np.ndarray:
    assert game.symmetries is not None
    if game.symmetries.planes is not None:
        return game.symmetries.planes
    return np.tile(np.arange(game.observation_shape[0]), (len(game.symmetries.cells), 1))


def _has_chance(game: Game, seed: int) -> bool:
    """Whether different seeds lead to different games for the same moves."""
    random, lines = np.random.default_rng(seed), [_Line(game, seed + number) for number in range(4)]
    for _ in range(game.max_plies):
        if any(not line.same_as(lines[0]) for line in lines):
            return True
        if lines[0].ended:
            return False
        action = int(random.choice(np.flatnonzero(lines[0].mask)))
        for line in lines:
            line.step(action)
    return False


class _Line:
    """One game and everything observable about it."""

    def __init__(self, game: Game, seed: int) -> None:
        self.batch, self.state = game.batch, game.new_states(1, seed)
        self.observation: np.ndarray = np.zeros((1, *game.observation_shape), game.observation_dtype)
        self._mask = np.zeros((1, game.num_actions), np.bool_)
        self._reward, self._ended = np.zeros(1, np.float32), np.zeros(1, np.bool_)
        self._look()

    def step(self, action: int) -> None:
        self.batch.step(self.state, np.array([action]), self._reward, self._ended)
        self._look()

    def same_as(self, other: _Line) -> bool:
        return (np.array_equal(self.observation, other.observation) and np.array_equal(self.mask, other.mask)
                and self.reward == other.reward and self.ended == other.ended)

    def _look(self) -> None:
        self.batch.observe(self.state, self.observation)
        self.batch.legal_actions(self.state, self._mask)
        self.mask, self.reward, self.ended = self._mask[0], float(self._reward[0]), bool(self._ended[0])


def _same(game: Game, original: _Line, other: _Line, s: int) -> bool:
    assert game.symmetries is not None
    planes = original.observation.reshape(game.observation_shape[0], -1)[_planes(game)[s]][:, game.symmetries.cells[s]]
    return (np.array_equal(planes, other.observation.reshape(planes.shape))
            and np.array_equal(original.mask[game.symmetries.actions[s]], other.mask)
            and original.reward == other.reward and original.ended == other.ended)
