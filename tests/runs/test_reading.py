"""What lies on disk is read by the types and ranges of annotations, and what is wrong is named with its place."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from myosu.errors import UserError
from myosu.runs.files import clear_parts
from myosu.runs.reading import Count, FileName, Finite, Range, Seed, parse, read_json, read_lines, truncate_lines


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, Range(0, 1)]
    sizes: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    limit: int | None = None
    how: Literal["a", "b"] = "a"
    flag: bool = False
    anything: dict[str, Any] = field(default_factory=dict)


class Line(TypedDict):
    index: Count
    value: Finite
    seed: NotRequired[Seed]


WHOLE = {"name": "x", "inner": {"rate": 1, "sizes": [3, 4]}, "limit": None, "how": "b", "flag": True,
         "anything": {"p": [1, "q", None, math.inf]}}


def test_valid_data_is_parsed_into_its_types():
    outer = parse(Outer, WHOLE, "file")
    assert outer == Outer("x", Inner(1.0, (3, 4)), None, "b", True, {"p": [1, "q", None, math.inf]})
    assert type(outer.inner.rate) is float
    assert parse(Outer, {"name": "é", "inner": {"rate": 0.5}}, "file") == Outer("é", Inner(0.5))
    assert parse(Line, {"index": 2**63 - 1, "value": 0, "seed": 2**64 - 1, "more": [1]}, "file")["more"] == [1]


@pytest.mark.parametrize("change, place", [
    ({"name": 5}, "name: 5 is not a text"),
    ({"name": None}, "name: None is not a text"),
    ({"name": "\ud800"}, "name"),
    ({"name": "a\0b"}, "name"),
    ({"inner": []}, r"inner: \[\] is not an object"),
    ({"inner": {"rate": "1"}}, r"inner\.rate: '1' is not a number"),
    ({"inner": {"rate": True}}, r"inner\.rate: True is not a number"),
    ({"inner": {"rate": 1.5}}, r"inner\.rate: 1\.5 must be from 0 to 1"),
    ({"inner": {"rate": math.nan}}, r"inner\.rate: nan must be"),
    ({"inner": {"rate": 10**400}}, r"inner\.rate: a number of 401 digits is too large"),
    ({"inner": {"rate": 1, "sizes": [1, 2.5]}}, r"inner\.sizes\[1\]: 2\.5 is not a whole number"),
    ({"inner": {}}, r"inner\.rate: it is missing"),
    ({"inner": {"rate": 1, "momentum": 2}}, r"inner\.momentum: Inner has no such field"),
    ({"inner": {"rate": 1, "ratte": 2}}, r"inner\.ratte: Inner has no such field, but rate"),
    ({"limit": "many"}, "limit"),
    ({"how": "c"}, "how: 'c' is not one of 'a', 'b'"),
    ({"how": ["a"]}, "how"),
    ({"flag": 1}, "flag: 1 is not true or false"),
    ({"anything": {"p": [{"q": 10**500}]}}, r"anything\.p\[0\]\.q: a number of 501 digits is too large"),
])
def test_wrong_values_are_reported_with_their_place(change, place):
    with pytest.raises(UserError, match=f"^here is damaged.*: {place}"):
        parse(Outer, WHOLE | change, "here")


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "..", "a\nb"])
def test_file_names_must_not_be_paths(name):
    with pytest.raises(UserError, match="is not a valid name"):
        parse(FileName, name, "here")
    assert parse(FileName, "block-00000-000001.safetensors", "here")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"index": 1' + b"0" * 5000, b"nul",
                                     b"[" * 900 + b"]" * 900])
def test_invalid_json_files_are_refused(tmp_path, content):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(UserError, match=r"file\.json is damaged"):
        read_json(tmp_path / "file.json", Line)


def test_missing_files_and_directories_are_refused(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        read_json(tmp_path / "none.json", Line)
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_json(tmp_path, Line)
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        list(read_lines(tmp_path, Line))


def damaged_lines(file: Path) -> list[int]:
    """Writes ten lines, of which these indices are whole."""
    lines = [json.dumps({"index": i, "value": i / 2}).encode() for i in range(10)]
    lines[0], lines[3], lines[4] = lines[0][:7], b"\xff\xfe\x00", b'{"index": -1, "value": 1}'
    file.write_bytes(b"\n".join(lines) + b"\n" + b'{"index": 10, "val')
    return [1, 2, 5, 6, 7, 8, 9]


def test_damaged_lines_are_skipped_with_one_notice(tmp_path, caplog):
    file = tmp_path / "lines.jsonl"
    whole = damaged_lines(file)
    for _ in range(2):
        assert [line["index"] for line in read_lines(file, Line)] == whole
    assert [line["index"] for line in read_lines(file, Line, last=3)] == whole[-3:]
    (notice,) = caplog.messages
    assert "lines.jsonl, line 1, is damaged and left out" in notice and "So are 2 more lines" in notice


def test_truncation_keeps_valid_lines_and_copies_the_damaged(tmp_path, caplog):
    file = tmp_path / "lines.jsonl"
    whole = damaged_lines(file)
    before = file.read_bytes()
    truncate_lines(file, lambda line: line["index"] < 8, Line)
    assert [line["index"] for line in read_lines(file, Line)] == [i for i in whole if i < 8]
    assert (tmp_path / "lines.jsonl.damaged").read_bytes() == before
    assert file.read_bytes().endswith(b"\n") and "lines.jsonl.damaged" in caplog.text
    truncate_lines(file, lambda line: line["index"] < 6, Line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines.jsonl", "lines.jsonl.damaged"]


def test_old_partial_files_are_removed(tmp_path):
    (tmp_path / ".a.part").mkdir()
    (tmp_path / ".a.part" / "weights").touch()
    (tmp_path / ".b.part").touch()
    (tmp_path / "c").touch()
    clear_parts(tmp_path, ".*.part", age=60)
    assert len(list(tmp_path.iterdir())) == 3
    clear_parts(tmp_path, ".*.part")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
