"""The one way to read what lies on disk: JSON, checked by the types and ranges of annotations.

What is wrong is named with its place (file, line, field and value). A damaged line of a file of lines is left out, with
one notice; a damaged file is a ``UserError``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import re
import sys
import types
import typing
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from myosu.errors import UserError

_log = logging.getLogger("myosu")
_told: set[str] = set()


@dataclass(frozen=True)
class Range:
    """Of a number, both ends included; NaN is in no range."""

    least: float = -sys.float_info.max
    greatest: float = sys.float_info.max


@dataclass(frozen=True)
class Pattern:
    """That the whole of a text matches."""

    regex: str


Count = Annotated[int, Range(0, 2**63 - 1)]
Seed = Annotated[int, Range(0, 2**64 - 1)]
Finite = Annotated[float, Range()]
Share = Annotated[float, Range(0, 1)]
#: The name of a file in a folder that is known, never a path to another one.
FileName = Annotated[str, Pattern(r"\w[\w.-]*")]


class _Wrong(Exception):
    """place: the field, such as ``train.minutes``. what: what is wrong with it."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}" if place else what)


def parse(kind: Any, data: Any, where: object) -> Any:
    """``data``, which JSON gave, as ``kind``: an annotation, a dataclass or a ``TypedDict``.

    Lists become tuples where the annotation says so, whole numbers floats. A dataclass has no other fields than its
    own; a ``TypedDict`` keeps others, whose numbers must be such that a float can hold them. Raises UserError, which
    names ``where`` (a file, and the line in it), the field and the value.
    """
    try:
        return _convert(kind, data, "")
    except RecursionError:
        raise UserError(f"{where} is damaged: it is nested too deeply.") from None
    except _Wrong as wrong:
        raise UserError(f"{where} is damaged, or of another version of Myosu: {wrong}.") from None


def read_json(file: Path, kind: Any) -> Any:
    """The contents of ``file`` as ``kind``, see ``parse``. Raises UserError."""
    return parse(kind, load_json(file), file)


def load_json(file: Path) -> Any:
    """The contents of ``file``, unchecked. Raises UserError where it is missing or no JSON."""
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file} is missing.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged, for it is no JSON: {_in_short(error)}.") from None


def read_lines(file: Path, kind: Any = dict[str, Any], last: int | None = None) -> Iterator[Any]:
    """The whole lines of a file of JSON lines as ``kind``, or the ``last`` so many; none where there is no file.

    Damaged lines are left out, and told of once.
    """
    lines = enumerate(_whole_lines(file), 1)
    damage: list[str] = []
    for number, line in lines if last is None else deque(lines, last):
        try:
            yield parse_line(line, kind)
        except _Wrong as wrong:
            damage.append(f"{file}, line {number}, is damaged and left out: {wrong}.")
    _tell(damage)


def truncate_lines(file: Path, keep: Callable[[Any], bool], kind: Any = dict[str, Any]) -> None:
    """Drop the lines of a file of JSON lines for which ``keep(record)`` is false, and a last line cut short.

    Damaged lines go too; the whole file as it was is then kept beside it, named ``.damaged``.
    """
    if not file.exists():
        return
    temporary = file.with_name(f".{file.name}.part")
    damage: list[str] = []
    with open(temporary, "wb") as new:
        for number, line in enumerate(_whole_lines(file), 1):
            try:
                if keep(parse_line(line, kind)):
                    new.write(line)
            except _Wrong as wrong:
                damage.append(f"{file}, line {number}, is damaged and left out: {wrong}.")
    if damage:
        _tell([f"{damage[0]} The file as it was is {_set_aside(file)}.", *damage[1:]])
    temporary.replace(file)


def parse_line(line: bytes, kind: Any) -> Any:
    """A line of a file of JSON lines as ``kind``. Raises an error of its own, for readers of lines only."""
    try:
        return _convert(kind, json.loads(line), "")
    except (ValueError, RecursionError) as error:
        raise _Wrong("", f"it is no JSON ({_in_short(error)})") from None


#: What ``parse_line`` raises.
DamagedLine = _Wrong


def tell(sentence: str) -> None:
    """A notice to whoever runs the program, once in a process."""
    if sentence not in _told:
        _told.add(sentence)
        _log.warning(sentence)


def _tell(damage: list[str]) -> None:
    if damage:
        more = f" So are {len(damage) - 1} more lines of it." if len(damage) > 1 else ""
        tell(damage[0] + more)


def _whole_lines(file: Path) -> Iterator[bytes]:
    try:
        with open(file, "rb") as lines:
            yield from (line for line in lines if line.endswith(b"\n") and not line.isspace())
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error


def _set_aside(file: Path) -> Path:
    """A copy of ``file`` beside it, under a name that is free."""
    for number in range(1, 1000):
        copy = file.with_name(f"{file.name}.damaged" + (f"-{number}" if number > 1 else ""))
        if not copy.exists():
            break
    copy.write_bytes(file.read_bytes())
    return copy


# --- by annotations


def _convert(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _check(_convert(arguments[0], value, place), arguments[1:], place)
    if origin is typing.NotRequired:
        return _convert(arguments[0], value, place)
    if kind is Any:
        return _plain(value, place)
    if origin is Literal:
        if not any(type(value) is type(allowed) and value == allowed for allowed in arguments):
            raise _Wrong(place, f"{_short(value)} is none of {', '.join(map(repr, arguments))}")
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, value, place)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, place)
    if typing.is_typeddict(kind):
        return _typed_dict(kind, value, place)
    if origin is list or kind is list:
        inner = arguments[0] if arguments else Any
        if _are_plain_integers(inner, _must_be(list, value, place)):  # of long games, quickly
            return value
        return [_convert(inner, item, f"{place}[{i}]") for i, item in enumerate(value)]
    if origin is tuple or kind is tuple:
        return _tuple(arguments or (Any, ...), value, place)
    if origin is dict or kind is dict:
        inner = arguments[1] if arguments else Any
        return {_text(name, place): _convert(inner, item, _inside(place, name))
                for name, item in _must_be(dict, value, place).items()}
    if kind in (int, float):
        return _number(kind, value, place)
    if kind is str:
        return _text(_must_be(str, value, place), place)
    if kind is type(None):
        return _must_be(type(None), value, place)
    return _must_be(bool, value, place) if kind is bool else _plain(value, place)


def _are_plain_integers(kind: Any, values: list[Any]) -> bool:
    return ((kind in (int, Any) or int in typing.get_args(kind)) and set(map(type, values)) == {int}
            and max(values) < 2**63 and min(values) >= -2**63)


_NAMES = {list: "a list", dict: "an object", str: "a text", bool: "true or false", type(None): "null"}


def _must_be(kind: type, value: Any, place: str) -> Any:
    if type(value) is not kind:
        raise _Wrong(place, f"{_short(value)} is not {_NAMES[kind]}")
    return value


def _number(kind: type, value: Any, place: str) -> int | float:
    if type(value) is not int and not (type(value) is float and kind is float):
        raise _Wrong(place, f"{_short(value)} is no {'whole ' if kind is int else ''}number")
    return _plain(value, place) if kind is int else float(_plain(value, place))


def _plain(value: Any, place: str) -> Any:
    """Any JSON, but no number that a float cannot hold and no text that cannot be written."""
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise _Wrong(place, f"{_short(value)} is too large")
    if isinstance(value, list):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {_text(name, place): _plain(item, _inside(place, name)) for name, item in value.items()}
    return value


def _text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Wrong(place, f"{_short(value)} is no text") from None
    if "\0" in value:
        raise _Wrong(place, f"{_short(value)} is no text")
    return value


def _check(value: Any, rules: tuple[Any, ...], place: str) -> Any:
    for rule in rules:
        if isinstance(rule, Range) and not rule.least <= value <= rule.greatest:
            largest = rule.greatest in (sys.float_info.max, 2**63 - 1, 2**64 - 1)
            allowed = ("finite" if rule == Range() else f"{rule.least:g} or more" if largest and value < rule.least
                       else f"from {rule.least:g} to {rule.greatest:g}")
            raise _Wrong(place, f"{_short(value)} must be {allowed}")
        if isinstance(rule, Pattern) and not re.fullmatch(rule.regex, value, re.ASCII):
            raise _Wrong(place, f"{_short(value)} is no such name")
    return value


def _one_of(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    wrong = _Wrong(place, f"{_short(value)} is of a wrong type")
    if isinstance(value, dict):  # of kinds of lines, the one that the line says it is
        said = [kind for kind in kinds if typing.is_typeddict(kind)
                and [value.get("kind")] == list(typing.get_args(_hints(kind).get("kind")))]
        kinds = tuple(said) or kinds
    for kind in kinds:
        if kind is not type(None):
            try:
                return _convert(kind, value, place)
            except _Wrong as found:
                wrong = found
    raise wrong


def _tuple(kinds: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    items = _must_be(list, list(value) if isinstance(value, tuple) else value, place)
    if len(kinds) == 2 and kinds[1] is ...:
        return tuple(_convert(kinds[0], item, f"{place}[{i}]") for i, item in enumerate(items))
    if len(items) != len(kinds):
        raise _Wrong(place, f"it has {len(items)} parts instead of {len(kinds)}")
    return tuple(_convert(kind, item, f"{place}[{i}]") for i, (kind, item) in enumerate(zip(kinds, items, strict=True)))


def _dataclass(kind: Any, value: Any, place: str) -> Any:
    fields, hints = {field.name: field for field in dataclasses.fields(kind) if field.init}, _hints(kind)
    for name in _must_be(dict, value, place):
        if name not in fields:
            raise _Wrong(_inside(place, name), f"{kind.__name__} has no such field")
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise _Wrong(_inside(place, name), "it is missing")
    return kind(**{name: _convert(hints[name], item, _inside(place, name)) for name, item in value.items()})


def _typed_dict(kind: Any, value: Any, place: str) -> dict[str, Any]:
    hints = _hints(kind)
    _must_be(dict, value, place)
    for name, hint in hints.items():
        if name not in value and typing.get_origin(hint) is not typing.NotRequired:
            raise _Wrong(_inside(place, name), "it is missing")
    return {_text(name, place): _convert(hints.get(name, Any), item, _inside(place, name))
            for name, item in value.items()}


@lru_cache(64)
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else str(name)


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**15:
        return f"a number of {math.floor(math.log10(abs(value))) + 1} digits"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _in_short(error: BaseException) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
