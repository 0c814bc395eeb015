"""The documentation site: every public name has a docstring and a page, every link of the site leads somewhere."""

import dataclasses
import importlib
import inspect
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import myosu
from myosu.algorithms import ALGORITHMS, load_algorithm
from myosu.cli import COMMANDS
from myosu.commands.train import field_docs
from myosu.runs.config import TrainConfig

ROOT = Path(__file__).parents[1]
REFERENCE = re.findall(r"^::: ([\w.]+)$", "\n".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md")),
                       re.MULTILINE)


def found(name):
    """What a dotted name means."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:i]))
        except ImportError:
            continue
        for part in parts[i:]:
            thing = getattr(thing, part)
        return thing
    raise AssertionError(f"there is no {name}")


def public_parts(thing):
    """A class's own public methods and properties."""
    return {name: getattr(part, "fget", None) or part for name, part in vars(thing).items()
            if not name.startswith("_") and (inspect.isfunction(part) or isinstance(part, property | staticmethod))}


def test_every_public_name_has_a_page():
    assert {f"myosu.{name}" for name in myosu.__all__} <= set(REFERENCE)


@pytest.mark.parametrize("name", REFERENCE)
def test_referenced_names_exist_and_have_docstrings(name):
    thing = found(name)
    assert inspect.getdoc(thing), f"{name} has no docstring"
    if inspect.isclass(thing):
        without = [part for part, code in public_parts(thing).items() if not inspect.getdoc(getattr(thing, part))]
        assert without == [], f"{name}: no docstring of {without}"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_a_page_of_the_common_form(name):
    page = (ROOT / f"docs/algorithms/{name}.md").read_text()
    parts = ["**What it is.**", "**When to use it.**", f"`algorithms/{name}.py`", "## Equations",
             "## Ablations", "## Pitfalls", "## All settings", f"<!-- settings: {name} -->"]
    places = [page.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert [page.index(part) for part in parts if part[0] in "#<"] == sorted(
        page.index(part) for part in parts if part[0] in "#<")


@pytest.mark.parametrize("name", [*ALGORITHMS, "train"])
def test_every_setting_is_explained(name):
    kind = TrainConfig if name == "train" else load_algorithm(name).Config
    assert {field.name for field in dataclasses.fields(kind)} - field_docs(kind).keys() == set()


def test_every_command_is_named_in_a_page():
    text = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    assert [name for name in COMMANDS if f"myosu {name}" not in text] == []


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.links += [given[name] for name in ("href", "src") if given.get(name)]
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    return {path.relative_to(folder).as_posix(): Page(path.read_text()) if path.suffix == ".html" else None
            for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_every_link_of_the_site_has_a_target(site):
    broken = []
    for name, page in site.items():
        if page is None or name == "404.html":
            continue
        for link in page.links:
            target, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:|//", target):
                continue
            parts = [*name.split("/")[:-1], *target.split("/")] if target else name.split("/")
            place = "/".join(simple(parts))
            there = site.get(place, site.get(f"{place}/index.html".lstrip("/"), False))
            if there is False or (anchor and there is not None and anchor not in there.anchors):
                broken.append(f"{name}: {link}")
    assert broken == []


def simple(parts):
    """A path without . and .. in it."""
    kept = []
    for part in parts:
        if part == "..":
            kept.pop()
        elif part not in ("", "."):
            kept.append(part)
    return kept


@pytest.mark.slow
def test_the_site_has_the_expected_pages_and_anchors(site):
    assert {f"algorithms/{name}.html" for name in ALGORITHMS} | {"changelog.html", "contributing.html"} <= site.keys()
    assert {f"myosu.{name}" for name in myosu.__all__} <= site["api/library.html"].anchors
