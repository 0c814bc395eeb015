"""The disk cache of compiled loops returns loops over the same rules, and no others."""

import subprocess
import sys
import types

import numba
import numpy as np
import pytest

from myosu.games import compiled, load_game, snake
from myosu.games.loops import compiled_loop


def sum_with(add, start=0):
    """A loop over a rule, like those of ``Batch``."""

    @compiled_loop
    def total(numbers):
        found = start
        for number in numbers:
            found = add(found, number)
        return found

    return total


def adder(step):
    @compiled
    def add(one, another):
        return one + step * another

    return add


NUMBERS = np.arange(4)


def was_found(loop) -> bool:
    return bool(loop.stats.cache_hits) and not loop.stats.cache_misses


def test_compiled_loop_is_cached_for_equal_rules_only():
    once = adder(1)
    assert sum_with(once)(NUMBERS) == 6
    again = sum_with(once)
    assert again(NUMBERS) == 6 and was_found(again)
    assert sum_with(adder(2))(NUMBERS) == 12, "another number in the closure of the rule"
    assert sum_with(once, 5)(NUMBERS) == 11, "another number in the closure of the loop"
    assert sum_with(adder(2))(NUMBERS.astype(np.float64)) == 12.0, "other types"


def test_games_with_different_settings_are_cached_separately():
    """Their records are equal but their rules differ: only the corrected snake may move onto its tail's cell."""
    ends = []
    for published in (False, True, False):
        game = snake.make_game(published=published, size=5)
        states = game.new_states(1)
        states["stamps"], states["targets"] = 0, 0
        for stamp, place in enumerate([(1, 1), (1, 2), (2, 2), (2, 1)], 1):
            states[0]["stamps"][place] = stamp
        states["row"], states["column"], states["head"], states["tail"], states["heading"] = 2, 1, 4, 1, 3
        rewards, terminated = np.zeros(1, np.float32), np.zeros(1, np.bool_)
        game.batch.step(states, np.array([2]), rewards, terminated)
        ends.append(bool(terminated[0]))
    assert ends == [False, True, False]


SCRIPT = """
import numpy as np
from myosu.games import load_game
game = load_game("tictactoe")
game.new_states(1)
assert game.batch.init.stats.cache_hits and not game.batch.init.stats.cache_misses
"""


def test_another_process_loads_cached_loops():
    load_game("tictactoe").new_states(1)
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


def module(path, text):
    """Write ``text`` to ``path`` and load it as a module, as on a first import."""
    path.write_text(text)
    found = types.ModuleType(path.stem)
    exec(compile(text, str(path), "exec"), found.__dict__)
    return found


RULE = """
from myosu.games import compiled

@compiled
def helper(one, another):
    return one + {step} * another

@compiled
def add(one, another):
    return helper(one, another)
"""


@pytest.mark.parametrize("steps", [(1, 3), (3, 1)])
def test_an_edited_file_is_compiled_again(tmp_path, steps):
    found = []
    for step in steps:
        add = module(tmp_path / "rule.py", RULE.format(step=step)).add
        loop = sum_with(add)
        found.append(loop(NUMBERS))
        assert not was_found(loop)
        for file in (tmp_path / "__pycache__").glob("*"):
            file.unlink()
    assert found == [6 * step for step in steps]


def test_uncached_functions_are_compiled_again():
    @numba.njit
    def add(one, another):  # not cached itself
        return one + another

    for _ in range(2):
        loop = sum_with(add)
        assert loop(NUMBERS) == 6 and not loop.stats.cache_hits
