"""Reads JSON files and validates them against the types and ranges of annotations.

Errors name the file, line, field and value. Damaged lines of a JSON lines file are skipped with one notice. A damaged
file raises ``UserError``.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import math
import re
import sys
import types
import typing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from myosu.errors import UserError

_log = logging.getLogger("myosu")
_told: set[str] = set()


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included. NaN is outside every range."""

    least: float = -sys.float_info.max
    greatest: float = sys.float_info.max


@dataclass(frozen=True)
class Pattern:
    """A regular expression that the whole text must match."""

    regex: str


Count = Annotated[int, Range(0, 2**63 - 1)]
Seed = Annotated[int, Range(0, 2**64 - 1)]
Finite = Annotated[float, Range()]
Fraction = Annotated[float, Range(0, 1)]
#: The name of a file in a known folder, which cannot be a path to another folder.
FileName = Annotated[str, Pattern(r"\w[\w.-]*")]


class DamagedValue(Exception):
    """A value is invalid. what: the reason. place: the position of the value in the data, such as ``train.minutes``."""

    def __init__(self, what: str, place: str = "") -> None:
        super().__init__(f"{place}: {what}" if place else what)
        self.what, self.place = what, place

    def inside(self, outer: str | int) -> DamagedValue:
        part = f"[{outer}]" if isinstance(outer, int) else outer
        dot = "." if self.place and not self.place.startswith("[") else ""
        return DamagedValue(self.what, f"{part}{dot}{self.place}")


def parse(kind: Any, data: Any, where: object, wrong: str = "is damaged, or of another version of Myosu") -> Any:
    """Convert JSON ``data`` to ``kind``, an annotation, a dataclass or a ``TypedDict``.

    Lists become tuples, and integers become floats, where the annotation says so. A dataclass accepts no unknown
    fields. A ``TypedDict`` keeps them, but their numbers must fit into a float. Raises UserError naming ``where``
    (a file, and the line in it), the field and the value. wrong: says what is wrong with ``where`` in general.
    """
    try:
        return _converter(kind)(data)
    except RecursionError:
        raise UserError(f"{where} is damaged: it is nested too deeply.") from None
    except DamagedValue as error:
        raise UserError(f"{where} {wrong}: {error}.") from None


def read_json(file: Path, kind: Any) -> Any:
    """Read ``file`` as ``kind``, see ``parse``. Raises UserError."""
    return parse(kind, load_json(file), file)


def load_json(file: Path) -> Any:
    """Read ``file`` without checking its contents. Raises UserError if it is missing or not JSON."""
    try:
        return json.loads(file.read_bytes().decode())
    except FileNotFoundError:
        raise UserError(f"{file} is missing.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged, because it is not JSON: {_in_short(error)}.") from None


def read_lines(file: Path, kind: Any = dict[str, Any], last: int | None = None) -> Iterator[Any]:
    """Read the complete lines of a JSON lines file as ``kind``, or only the ``last`` lines.

    Damaged lines are skipped with one notice.
    """
    lines = enumerate(_whole_lines(file), 1)
    damage: list[str] = []
    for number, line in lines if last is None else deque(lines, last):
        try:
            yield parse_line(line, kind)
        except DamagedValue as wrong:
            damage.append(f"{file}, line {number}, is damaged and left out: {wrong}.")
    _tell(damage)


def truncate_lines(file: Path, keep: Callable[[Any], bool], kind: Any = dict[str, Any]) -> None:
    """Remove the lines of a JSON lines file for which ``keep(record)`` is false, and an incomplete last line.

    Damaged lines are removed too; then a copy of the original file is kept beside it, with ``.damaged`` appended.
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
            except DamagedValue as wrong:
                damage.append(f"{file}, line {number}, is damaged and left out: {wrong}.")
    if damage:
        _tell([f"{damage[0]} The file as it was is {_set_aside(file)}.", *damage[1:]])
    temporary.replace(file)


def parse_line(line: bytes, kind: Any) -> Any:
    """Convert a line of a JSON lines file to ``kind``. Raises DamagedValue."""
    try:
        return _converter(kind)(json.loads(line.decode()))
    except (ValueError, RecursionError) as error:
        raise DamagedValue(f"it is not JSON ({_in_short(error)})") from None


def tell(sentence: str) -> None:
    """Print a notice to the user, once per process."""
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
    """Copy ``file`` to an unused name beside it."""
    for number in range(1, 1000):
        copy = file.with_name(f"{file.name}.damaged" + (f"-{number}" if number > 1 else ""))
        if not copy.exists():
            break
    copy.write_bytes(file.read_bytes())
    return copy


# --- converters: one per annotation, cached, because files may have hundreds of thousands of lines

_Converter = Callable[[Any], Any]
_NAMES = {list: "a list", dict: "an object", str: "a text", bool: "true or false", type(None): "null"}
#: Default bounds of ``Range``.
_NO_END = (sys.float_info.max, 2**63 - 1, 2**64 - 1)


@lru_cache(256)
def _converter(kind: Any) -> _Converter:
    """Make a function that converts a JSON value to ``kind`` or raises DamagedValue."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _checked(_converter(arguments[0]), arguments[1:])
    if origin is typing.NotRequired:
        return _converter(arguments[0])
    if origin is Literal:
        return _literal(arguments)
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind)
    if typing.is_typeddict(kind):
        return _typed_dict(kind)
    if origin is list or kind is list:
        return _list(arguments[0] if arguments else Any)
    if origin is tuple or kind is tuple:
        return _tuple(arguments or (Any, ...))
    if origin is dict or kind is dict:
        return _dict(*(arguments or (str, Any)))
    simple: dict[Any, _Converter] = {int: _integer, float: _float, str: _text, bool: lambda value: _only(bool, value),
                                     type(None): lambda value: _only(type(None), value)}
    return simple.get(kind, _plain)


def _only(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise DamagedValue(f"{_short(value)} is not {_NAMES[kind]}")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise DamagedValue(f"{_short(value)} is not a whole number")
    return _small(value)


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise DamagedValue(f"{_short(value)} is not a number")
    return float(_small(value))


def _small(value: int) -> int:
    if abs(value) > sys.float_info.max:
        raise DamagedValue(f"{_short(value)} is too large")
    return value


def _text(value: Any) -> str:
    """Refuse text that cannot be encoded or cannot be part of a path."""
    text: str = _only(str, value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DamagedValue(f"{_short(text)} is not valid text") from None
    if "\0" in text:
        raise DamagedValue(f"{_short(text)} is not valid text")
    return text


def _plain(value: Any) -> Any:
    """Accept any JSON, except numbers that do not fit into a float and text that cannot be encoded."""
    kind = type(value)
    if kind is int:
        return _small(value)
    if kind is str:
        return _text(value)
    if kind is list:
        return _list(Any)(value)
    return _dict(str, Any)(value) if kind is dict else value


def _checked(inner: _Converter, rules: tuple[Any, ...]) -> _Converter:
    def convert(value: Any) -> Any:
        value = inner(value)
        for rule in rules:
            if isinstance(rule, Range) and not rule.least <= value <= rule.greatest:
                allowed = ("finite" if rule == Range() else f"{rule.least:g} or more" if rule.greatest in _NO_END
                           else f"from {rule.least:g} to {rule.greatest:g}")
                raise DamagedValue(f"{_short(value)} must be {allowed}")
            if isinstance(rule, Pattern) and not re.fullmatch(rule.regex, value, re.ASCII):
                raise DamagedValue(f"{_short(value)} is not a valid name")
        return value
    return convert


def _literal(allowed: tuple[Any, ...]) -> _Converter:
    def convert(value: Any) -> Any:
        if not any(type(value) is type(each) and value == each for each in allowed):
            raise DamagedValue(f"{_short(value)} is not one of {', '.join(map(repr, allowed))}")
        return value
    return convert


def _one_of(kinds: tuple[Any, ...]) -> _Converter:
    converters = {kind: _converter(kind) for kind in kinds if kind is not type(None)}
    named = {typing.get_args(_hints(kind).get("kind"))[:1]: kind for kind in kinds if typing.is_typeddict(kind)}

    def convert(value: Any) -> Any:
        if value is None and type(None) in kinds:
            return None
        wrong = DamagedValue(f"{_short(value)} has the wrong type")
        if named and isinstance(value, dict):  # lines of several kinds, which the field "kind" distinguishes
            said = value.get("kind")
            tried = [named[said,]] if isinstance(said, str) and (said,) in named else [*named.values()]
        else:
            tried = [*converters]
        for kind in tried:
            try:
                return converters[kind](value)
            except DamagedValue as found:
                wrong = found
        raise wrong
    return convert


def _list(kind: Any) -> _Converter:
    inner = _converter(kind)
    may_be_integers = kind in (int, Any) or int in typing.get_args(kind)

    def convert(value: Any) -> Any:
        # A fast path for long games.
        if may_be_integers and type(value) is list and set(map(type, value)) == {int} and (
                max(value) < 2**63 and min(value) >= -2**63):
            return value
        return _items(inner, _only(list, value))
    return convert


def _items(inner: _Converter, values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        try:
            found.append(inner(value))
        except DamagedValue as wrong:
            raise wrong.inside(len(found)) from None
    return found


def _tuple(kinds: tuple[Any, ...]) -> _Converter:
    inner = _converter(kinds[0]) if len(kinds) == 2 and kinds[1] is ... else None
    each = [] if inner else [_converter(kind) for kind in kinds]

    def convert(value: Any) -> tuple[Any, ...]:
        items = list(value) if isinstance(value, tuple) else _only(list, value)
        if inner:
            return tuple(_items(inner, items))
        if len(items) != len(each):
            raise DamagedValue(f"it has {len(items)} parts instead of {len(each)}")
        places = iter(each)
        return tuple(_items(lambda item: next(places)(item), items))
    return convert


def _dict(names: Any, kind: Any) -> _Converter:
    name_of, inner = _converter(names), _converter(kind) if kind is not Any else _plain

    def convert(value: Any) -> dict[str, Any]:
        return {name_of(name): _field(inner, name, item) for name, item in _only(dict, value).items()}
    return convert


def _dataclass(kind: Any) -> _Converter:
    hints = _hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    each = {name: _converter(hints[name]) for name in fields}
    needed = [name for name, field in fields.items()
              if field.default is field.default_factory is dataclasses.MISSING]

    def convert(value: Any) -> Any:
        for name in _only(dict, value):
            if name not in fields:
                near = difflib.get_close_matches(str(name), fields, n=1)
                raise DamagedValue(f"{kind.__name__} has no such field{f', but {near[0]}' if near else ''}",
                                   _text(name))
        _require_all(needed, value)
        return kind(**{name: _field(each[name], name, item) for name, item in value.items()})
    return convert


def _typed_dict(kind: Any) -> _Converter:
    hints = _hints(kind)
    each = {name: _converter(hint) for name, hint in hints.items()}
    needed = [name for name, hint in hints.items() if typing.get_origin(hint) is not typing.NotRequired]

    def convert(value: Any) -> dict[str, Any]:
        _require_all(needed, _only(dict, value))
        return {_text(name): _field(each.get(name, _plain), name, item) for name, item in value.items()}
    return convert


def _require_all(names: list[str], value: dict[str, Any]) -> None:
    for name in names:
        if name not in value:
            raise DamagedValue("it is missing", name)


def _field(inner: _Converter, name: str, value: Any) -> Any:
    try:
        return inner(value)
    except DamagedValue as wrong:
        raise wrong.inside(name) from None


@lru_cache(64)
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**15:
        return f"a number of {math.floor(math.log10(abs(value))) + 1} digits"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _in_short(error: BaseException) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
