"""Nothing imports anything on its right (ARCHITECTURE.md), lazy imports inside functions included."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import myosu

PACKAGE = Path(myosu.__file__).parent

#: From left to right. What stands in one group may import each other.
ORDER = [
    ("errors", "processes", "memory", "randomness", "trust", "__version__"),
    ("games",), ("envs",), ("kernels",), ("losses",), ("nets",), ("search",), ("replay",), ("runs",), ("rewards",),
    ("algorithms",), ("players",), ("evaluation",), ("sources",), ("presets",), ("training",),
    ("arena", "plots", "doctor", "recipes"), ("api",), ("tuning", "sharing"), ("web",), ("publish",),
    ("commands", "cli", "__main__"),
]
PLACE = {name: place for place, group in enumerate(ORDER) for name in group}

#: Arrows that point to the right and are to go: (from, to).
KNOWN: set[tuple[str, str]] = set()


def imports_of(file: Path) -> set[str]:
    """Names of the rooms of ``myosu`` that ``file`` imports anywhere, those for type checkers alone excepted."""
    tree = ast.parse(file.read_text())
    only_types = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If)
                  and ast.unparse(node.test).endswith("TYPE_CHECKING") for inner in ast.walk(node)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in only_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names
                      if alias.name.startswith("myosu.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "myosu":
            assert node.module is not None
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args
              and isinstance(node.args[0], ast.Constant) and str(node.args[0].value).startswith("myosu.")):
            found.add(node.args[0].value.split(".")[1])
    return found


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


@cache
def wrong_arrows() -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for file in FILES:
        room = room_of(file)
        for other in imports_of(file):
            if PLACE[other] > PLACE[room]:
                found.setdefault((room, other), []).append(str(file.relative_to(PACKAGE)))
    return found


def test_every_package_has_a_layer():
    assert {room_of(file) for file in FILES} <= PLACE.keys()


def test_no_package_imports_a_higher_layer():
    assert {arrow: files for arrow, files in wrong_arrows().items() if arrow not in KNOWN} == {}


def test_known_exceptions_still_exist():
    assert wrong_arrows().keys() >= KNOWN


@pytest.mark.parametrize("text, rooms", [
    ("from myosu.web import server", {"web"}), ("import myosu.web.server", {"web"}),
    ("def f():\n    from myosu import trust", {"trust"}), ("import numpy", set()),
    ("if TYPE_CHECKING:\n    from myosu.web import server", set()),
    ("importlib.import_module('myosu.web.server')", {"web"})])
def test_imports_of_a_file_are_found(tmp_path, text, rooms):
    (tmp_path / "x.py").write_text(text)
    assert imports_of(tmp_path / "x.py") == rooms
