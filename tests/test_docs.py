"""What documents say can be followed: links lead somewhere, commands and their flags exist, no line is too long."""

import ast
import dataclasses
import importlib
import re
import shlex
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import get_type_hints

import pytest

from myosu.algorithms import ALGORITHMS
from myosu.cli import COMMANDS, run
from myosu.commands.completion import POSITIONAL

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"])
#: All but the log, which keeps the words and the commands of its day.
PRESENT = [page for page in PAGES if "log" not in page.parts]
#: Words in the code map that are not names of the linked files: settings and Gymnasium's names.
EXTERNAL = {"terminated", "truncated", "max_steps", "step", "max_plies", "normalize_observations", "normalize_rewards"}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[list[str]]:
    """The words of every `myosu` command in code blocks and in code within sentences."""
    text = page.read_text()
    blocks = "\n".join(FENCE.findall(text)).replace("\\\n", " ")
    spans = re.findall(r"`+([^`]+)`+", FENCE.sub("", text))
    lines = [line.removeprefix("$ ") for line in blocks.splitlines()] + [" ".join(span.split()) for span in spans]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("myosu ")]


def flags(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


@pytest.fixture(scope="module")
def flags_of():
    """The flags of each command, as its help lists them; those of `train` for every algorithm together."""
    known: dict[str, set[str]] = {}

    def of(command: str, capsys) -> set[str]:
        if command not in known:
            known[command] = {"--help", "--help-all"} if command == "train" else {"--help"}
            for arguments in [["--algorithm", name] for name in ALGORITHMS] if command == "train" else [[]]:
                with suppress(SystemExit):
                    run([command, *arguments, "--help-all" if command == "train" else "--help"])
                known[command] |= set(re.findall(r"--[a-z][a-z0-9-]*", capsys.readouterr().out))
        return known[command]

    return of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_have_targets(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = page.parent / path if path else page
        assert file.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(file), f"{target} matches no heading"


def test_files_that_code_names_exist():
    for file in (file for folder in ("src", "tests", "scripts", "benchmarks", "examples")
                 for file in ROOT.glob(f"{folder}/**/*.py")):
        named = re.findall(r"\b(?:docs|scripts|benchmarks|examples)/[\w/.-]*\w", file.read_text())
        missing = [name for name in named if not (ROOT / name).exists() and "GAME" not in name]
        assert not missing, f"{name_of(file)} names {missing}"


def defined(node: ast.AST) -> set[str]:
    """The names that a module or class defines: variables, functions, classes, fields."""
    names = set()
    for part in getattr(node, "body", []):
        names |= {part.name} if hasattr(part, "name") else set()
        targets = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
        names |= {name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


def test_names_in_the_code_map_exist():
    """Each name in a paragraph or table cell of code-map.md is defined in a file that this links."""
    text, checked = (ROOT / "docs" / "code-map.md").read_text(), 0
    for passage in re.split(r"\n\n|\n(?=\|)", text):
        passage = passage.rsplit("|", 2)[-2] if passage.startswith("|") else passage
        trees = [ast.parse((ROOT / file).read_text()) for file in re.findall(r"\(\.\./(src/[\w/]+\.py)\)", passage)]
        outer = {name for tree in trees for name in defined(tree)}
        members = {kind.name: defined(kind) for tree in trees for kind in tree.body if isinstance(kind, ast.ClassDef)}
        for name in re.findall(r"(?<!\[)`(\w+(?:\.\w+)?)`", passage) if trees else []:
            owner, _, member = name.rpartition(".")
            assert member in (members.get(owner, ()) if owner else outer.union(*members.values(), EXTERNAL)), \
                f"{name} is not defined in the files that this links: {passage}"
            checked += 1
    assert checked > 50


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_docs_have_no_long_lines(page):
    """Tables, and what a command prints, are as wide as they are."""
    long = [line for line in FENCE.sub("", page.read_text()).splitlines()
            if len(line) > 120 and not line.lstrip().startswith(("|", "![")) and " " in line.strip()]
    assert long == []


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_documented_commands_and_flags_exist(page, flags_of, capsys):
    for words in commands(page):
        command = words[1]
        if not re.fullmatch("[a-z]+", command):
            continue  # a placeholder, or the help of all commands
        assert command in COMMANDS, f"myosu has no command {command}"
        assert flags(words[2:]) <= flags_of(command, capsys), " ".join(words)


def test_required_flags_are_in_the_examples():
    """In code blocks; a sentence may name a command alone."""
    checked = 0
    for page in PRESENT:
        blocks = "\n".join(FENCE.findall(page.read_text())).replace("\\\n", " ")
        for line in re.findall(r"^(?:\$ )?(myosu .*)$", blocks, re.MULTILINE):
            command, *words = shlex.split(line, comments=True)[1:]
            for alternatives in required_flags(command) if command in COMMANDS else []:
                assert {word.partition("=")[0] for word in words} & {*alternatives, "--help"}, line
                checked += 1
    assert checked > 10


@cache
def required_flags(command: str) -> list[set[str]]:
    """The names of each flag of the command that has no default."""
    options = getattr(importlib.import_module(f"myosu.commands.{command}"), "Options", None)
    required = []
    for field in dataclasses.fields(options) if options else ():
        extras = getattr(get_type_hints(options, include_extras=True)[field.name], "__metadata__", ())
        required_one = field.default is field.default_factory is dataclasses.MISSING
        if required_one and not any(extra is POSITIONAL for extra in extras):
            aliases = {alias for extra in extras for alias in getattr(extra, "aliases", None) or ()}
            required.append({f"--{field.name.replace('_', '-')}", *aliases})
    return required


def test_flags_that_the_doctor_advises_exist(flags_of, capsys):
    known = set().union(*(flags_of(command, capsys) for command in COMMANDS))
    for file in (ROOT / "src" / "myosu" / "doctor").glob("*.py"):
        text = re.sub(r"--[a-z]+:|var\(--[a-z]+\)", "", file.read_text())  # properties of style sheets
        advised = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))
        assert advised <= known, f"{file.name}: {advised - known}"
