"""Loads a game by name or by the path of its file. Names are entry points of the group ``myosu.games``: modules with a
``GAME``, or ``Game`` objects."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import numba
import numpy as np

from myosu.errors import UserError
from myosu.games.game import Game

_RULES = ("init", "legal_actions", "step", "observe", "to_play")


def game_names() -> list[str]:
    """Names of all registered games."""
    return sorted({entry.name for entry in entry_points(group="myosu.games")})


def load_game(name: str) -> Game:
    """Load the game called ``name``, which may be the path of a file that defines ``GAME``.

    Compiles each rule and calls it once. Raises UserError if there is no such game or a rule fails.
    """
    game, source = find_game(name)
    _try_rules(game, source)
    return game


def find_game(name: str) -> tuple[Game, str]:
    """Like ``load_game``, without calling the rules. Returns the game and its origin (for messages)."""
    if name.endswith(".py"):
        module, source = load_file(Path(name)), name
    else:
        found = {entry.name: entry for entry in entry_points(group="myosu.games")}
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known games: {', '.join(sorted(found))}."
            raise UserError(f"There is no game {name!r}. {hint} A game of your own: give the path of its .py file.")
        try:
            module, source = found[name].load(), found[name].value
        except Exception as error:
            raise UserError(f"The game {name!r} ({found[name].value}) cannot be loaded: "
                            f"{type(error).__name__}: {error}") from error
    game = module if isinstance(module, Game) else getattr(module, "GAME", None)
    if not isinstance(game, Game):
        raise UserError(f"{source} defines no GAME = Game(...).")
    return game, source


def defines_game(file: str) -> bool:
    """Whether a file defines ``GAME``. Raises UserError if the file is missing or its code fails."""
    return hasattr(load_file(Path(file)), "GAME")


def load_file(path: Path) -> ModuleType:
    """Load the file ``path`` as a module. Raises UserError if there is no such file or its code fails."""
    if not os.path.isfile(path):  # unlike Path.is_file, also False if the path is impossible
        raise UserError(f"There is no file {str(path)!r}.")
    path = path.resolve()
    # Numba's cache is keyed by the module name, so two files, or two versions of one file, must not share a name.
    digest = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]
    name = f"myosu_file_{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # Compiled here, because the import system's cache does not notice a second edit within one second.
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, SyntaxError):
            line = error.lineno
        else:
            inside = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
            line = inside[-1] if inside else None
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        raise UserError(f"{path}{'' if line is None else f', line {line}'}: {kind}{reason}") from error
    return module


def _try_rules(game: Game, source: str) -> None:
    """Call each rule once on an initial position, so that compilation errors are reported here with the rule's name."""
    for rule in (*_RULES, "heuristic", "score"):
        if getattr(game, rule) is not None and not isinstance(getattr(game, rule), numba.core.dispatcher.Dispatcher):
            raise UserError(f"{source}: {rule} must be decorated with @compiled (from myosu.games import compiled).")
    state = np.zeros(1, game.state_dtype)[0]
    mask = np.zeros(game.num_actions, np.bool_)
    rule = ""
    try:
        rule = "init"
        game.init(state, np.uint64(0))
        rule = "legal_actions"
        game.legal_actions(state, mask)
        rule = "observe"
        game.observe(state, np.zeros(game.observation_shape, game.observation_dtype))
        rule = "to_play"
        game.to_play(state)
        if mask.any():
            rule = "step"
            reward, ended = game.step(state, np.int64(np.flatnonzero(mask)[0]))
            float(reward), bool(ended)
    except Exception as error:
        raise UserError(compilation_error(error, source, getattr(game, rule).py_func)) from error


def compilation_error(error: Exception, source: str, rule: Callable) -> str:
    """The line of ``rule`` and the reason, extracted from Numba's long message."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    code = rule.__code__
    lines = [int(line) for file, line in re.findall(r'File "([^"]+)", line (\d+):', text)
             if Path(file).name == Path(code.co_filename).name]
    reasons = [line.strip() for line in text.splitlines() if line.strip()]
    reason = next((r for r in reasons if not r.startswith(("Failed in", "During:", "File "))), "no message")
    return (f"{source}, line {lines[-1] if lines else code.co_firstlineno}: {rule.__name__} does not work: "
            f"{type(error).__name__}: {reason}")
