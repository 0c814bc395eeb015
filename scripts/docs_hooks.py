"""MkDocs hooks of `make docs`: files outside docs/ that pages link to are added to the site, and tables of settings are
generated from the dataclasses.

In a page, `<!-- settings: ppo -->` becomes the table of that algorithm's settings, `<!-- settings: train -->` that of
the training loop's, and `<!-- include: CHANGELOG.md -->` the text of a file of the repository.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
#: The folder of the site for files that are not in docs/.
OUTSIDE = "repository"
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"<!-- (settings|include): ([\w./-]+) -->")


class HouseStyle(griffe.Extension):
    """Turns "name: text" descriptions of parameters and fields in Myosu's docstrings into lists."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            names = {item.name.lstrip("*") for item in obj.parameters} if isinstance(obj, griffe.Function) else {
                name for name, member in obj.members.items() if not member.is_alias} if obj.is_class else set()
            obj.docstring.value = listed(obj.docstring.value, names)


def listed(text: str, names: set[str]) -> str:
    """The docstring with its description of each of ``names`` as a list item."""
    if not names:
        return text
    begin = re.compile(rf"(?:^|(?<=\. ))({'|'.join(sorted(names))}): ", re.MULTILINE)
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if begin.search(paragraph):
            head, *items = begin.split(re.sub(r"\n +", " ", paragraph))  # indented lines continue the line above
            lines = [f"- **{name}**: {' '.join(said.split())}"
                     for name, said in zip(items[::2], items[1::2], strict=True)]
            paragraphs += [*[head.strip()] * bool(head.strip()), "\n".join(lines)]
        else:
            paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)


def on_files(files: Any, config: Any) -> Any:
    """Add files outside docs/ that the pages link to, and the files that these link to."""
    todo = sorted(DOCS.rglob("*.md"))
    done = set()
    while todo:
        page = todo.pop()
        for target in _targets(page):
            if target in done or target.is_relative_to(DOCS):
                continue
            done.add(target)
            if target.is_dir():
                files.append(File.generated(config, f"{_place(target)}", content=_listing(target)))
                todo.append(target)
            elif target.suffix == ".md":
                files.append(File.generated(config, _place(target), abs_src_path=str(target)))
                todo.append(target)
            else:
                files.append(File.generated(config, _place(target), abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    uri = page.file.src_uri
    source = ROOT / uri.removeprefix(f"{OUTSIDE}/") if uri.startswith(f"{OUTSIDE}/") else DOCS / uri
    if source.name == "index.md" and not source.is_file():
        return markdown  # a generated listing, whose links are correct
    return MARKER.sub(lambda found: _made(found[1], found[2], uri), _moved(markdown, source, uri))


def settings_table(name: str) -> str:
    """The settings of an algorithm, or of the training loop ("train"), as a table in Markdown."""
    from myosu.algorithms import load_algorithm
    from myosu.commands.train import field_docs
    from myosu.runs.config import TrainConfig

    kind = TrainConfig if name == "train" else load_algorithm(name).Config
    texts = field_docs(kind)
    rows = []
    for field in dataclasses.fields(kind):
        value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        text = texts.get(field.name, "").replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{value}` | {text} |")
    return "\n".join(["| setting | default | |", "|---|---|---|", *rows])


def _made(kind: str, name: str, uri: str) -> str:
    return settings_table(name) if kind == "settings" else _moved((ROOT / name).read_text(), ROOT / name, uri)


def _targets(page: Path) -> list[Path]:
    """Files and folders of the repository that a page links to, or the files in a folder."""
    if page.is_dir():
        return [path for path in sorted(page.iterdir()) if path.is_file()]
    text = page.read_text()
    for kind, name in MARKER.findall(text):
        if kind == "include":
            text += (ROOT / name).read_text().replace("](", f"]({os.path.relpath(ROOT, page.parent)}/")
    found = [_resolve(page, link) for _, link, _ in LINK.findall(FENCE.sub("", text))]
    return [path for path in found if path is not None]


def _resolve(page: Path, link: str) -> Path | None:
    """The file or folder of the repository that a link on ``page`` points to; None if it points elsewhere."""
    path = link.partition("#")[0]
    if not path or "://" in path or path.startswith("mailto:"):
        return None
    target = (page.parent / path).resolve()
    return target if target.is_relative_to(ROOT) and target.exists() else None


def _place(target: Path) -> str:
    """The source path of the file or folder on the site, as MkDocs names it."""
    if target.is_relative_to(DOCS):
        inside = target.relative_to(DOCS).as_posix()
        return f"{inside}/README.md" if target.is_dir() and (target / "README.md").exists() else inside
    outside = f"{OUTSIDE}/{target.relative_to(ROOT).as_posix()}"
    return f"{outside}/index.md" if target.is_dir() else outside


def _moved(markdown: str, source: Path, uri: str) -> str:
    """The text of ``source`` with its links adapted to the page ``uri``."""
    def moved(found: re.Match[str]) -> str:
        target = _resolve(source, found[2])
        if target is None:
            return found[0]
        if target.is_dir() and target.is_relative_to(DOCS) and not (target / "README.md").exists():
            target = min(target.glob("*.md"))  # a folder of the log
        _, hash_sign, anchor = found[2].partition("#")
        place = os.path.relpath(_place(target), os.path.dirname(uri) or ".")
        return f"{found[1]}{place}{hash_sign}{anchor}{found[3]}"

    parts = FENCE.split(markdown)
    return "".join(part if i % 2 else LINK.sub(moved, part) for i, part in enumerate(parts))


def _listing(folder: Path) -> str:
    names = "\n".join(f"- [{path.name}]({path.name})" for path in sorted(folder.iterdir()) if path.is_file())
    return f"# {folder.relative_to(ROOT).as_posix()}\n\n{names}\n"
