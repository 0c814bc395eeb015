"""Converts one LLVM object file into a WebAssembly module that browsers can run.

An LLVM object file is almost a module. It only lacks exports, and the addresses of its data start at 0. As everything
is in one object file (``wasm.py``), nothing else has to be linked, and no linker has to be installed. The formats:
https://webassembly.github.io/spec/core/binary and https://github.com/WebAssembly/tool-conventions/blob/main/Linking.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CUSTOM, IMPORT, EXPORT, CODE, DATA = 0, 2, 7, 10, 11
#: The required order of a module's sections (12: the number of data segments, 13: exception tags).
ORDER = (1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11)

#: Kinds of symbols, kinds of imports, and flags of symbols.
FUNCTION_SYMBOL, DATA_SYMBOL, SECTION_SYMBOL = 0, 1, 3
FUNCTION, TABLE, MEMORY, GLOBAL = range(4)
UNDEFINED, EXPLICIT_NAME = 0x10, 0x40

#: Relocations of indices do not change when only one object is linked. Those of addresses are rewritten: for each type
#: of relocation, the function that encodes the address.
OF_INDICES = (0, 1, 2, 6, 7, 20)  # functions, tables, types, globals
OF_ADDRESSES = {
    3: lambda value: _padded(value, signed=False),
    4: lambda value: _padded(value, signed=True),
    5: lambda value: struct.pack("<I", value),
}


class UndefinedSymbols(ValueError):
    """Raised if ``names`` are called or read, but neither defined nor allowed as imports."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


@dataclass(frozen=True)
class Module:
    """A linked module. code: the WebAssembly module. imports: functions that it imports from "env". data_end: the first
    address after its data. It also imports its memory (``__linear_memory``) and stack pointer (``__stack_pointer``)."""

    code: bytes
    imports: list[str]
    data_end: int


@dataclass(frozen=True)
class _Symbol:
    """A symbol. index: index of the function, or of the segment that contains the data at ``offset``."""

    kind: int
    name: str
    index: int
    offset: int = 0
    undefined: bool = False


def link(code: bytes, exports: list[str], allowed: set[str], base: int) -> Module:
    """Convert the object file ``code`` to a module that exports the functions ``exports`` and whose data starts at the
    address ``base``. allowed: functions that may be imported. Raises UndefinedSymbols."""
    sections, custom = _sections(code)
    imports = _imported_functions(sections[IMPORT]) if IMPORT in sections else []
    symbols = _symbols(custom["linking"], imports)
    missing = {symbol.name for symbol in symbols if symbol.undefined and symbol.kind == DATA_SYMBOL}
    if missing or not set(imports) <= allowed:
        raise UndefinedSymbols(sorted(missing | (set(imports) - allowed)))
    segments = [(base + address, content) for address, content in _segments(sections.get(DATA, b"\0"))]
    places = [address for address, _ in segments]
    for target, name in ((CODE, "reloc.CODE"), (DATA, "reloc.DATA")):
        if name in custom:
            sections[target] = _relocate(sections[target], custom[name], symbols, places)
    if DATA in sections:
        contents = [content for _, content in _segments(sections[DATA])]
        sections[DATA] = _vector([b"\0\x41" + _padded(place, signed=True) + b"\x0b" + _leb(len(content)) + content
                                  for place, content in zip(places, contents, strict=True)])
    end = max((place + len(content) for place, content in segments), default=base)
    found = {symbol.name: symbol.index for symbol in symbols if symbol.kind == FUNCTION_SYMBOL and not symbol.undefined}
    sections[EXPORT] = _vector([_name(name) + b"\0" + _leb(found[name]) for name in exports])
    body = b"".join(bytes([number]) + _leb(len(sections[number])) + sections[number]
                    for number in ORDER if number in sections)
    return Module(code[:8] + body, imports, end)


class _Reader:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """Read an unsigned LEB128 number."""
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def signed(self) -> int:
        start = self.at
        value = self.number()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size:self.at]

    def name(self) -> str:
        return self.take(self.number()).decode()

    @property
    def left(self) -> bool:
        return self.at < len(self.data)


def _sections(code: bytes) -> tuple[dict[int, bytes], dict[str, bytes]]:
    """The sections by number, and the custom sections by name."""
    if code[:8] != b"\0asm\1\0\0\0":
        raise ValueError("no WebAssembly object")
    reader, sections, custom = _Reader(code, 8), {}, {}
    while reader.left:
        number = reader.byte()
        content = reader.take(reader.number())
        if number == CUSTOM:
            inner = _Reader(content)
            name = inner.name()
            custom[name] = content[inner.at:]
        else:
            sections[number] = content
    return sections, custom


def _imported_functions(content: bytes) -> list[str]:
    reader, names = _Reader(content), []
    for _ in range(reader.number()):
        reader.name()
        name, kind = reader.name(), reader.byte()
        if kind == FUNCTION:
            reader.number()
            names.append(name)
        elif kind == GLOBAL:
            reader.take(2)
        else:
            if kind == TABLE:
                reader.byte()
            for _ in range(1 + (reader.byte() & 1)):  # minimum size, and maximum size if there is one
                reader.number()
    return names


def _symbols(linking: bytes, imports: list[str]) -> list[_Symbol]:
    reader = _Reader(linking)
    assert reader.number() == 2, "another version of LLVM's linking format"
    while True:
        kind, size = reader.byte(), reader.number()
        if kind == 8:  # the symbol table
            break
        reader.take(size)
    symbols = []
    for _ in range(reader.number()):
        kind, flags = reader.byte(), reader.number()
        undefined = bool(flags & UNDEFINED)
        if kind == DATA_SYMBOL:
            name = reader.name()
            place = (0, 0) if undefined else (reader.number(), reader.number())
            if not undefined:
                reader.number()  # size
            symbols.append(_Symbol(kind, name, *place, undefined))
        elif kind == SECTION_SYMBOL:
            symbols.append(_Symbol(kind, "", reader.number()))
        else:
            index = reader.number()
            named = not undefined or flags & EXPLICIT_NAME
            name = reader.name() if named else imports[index] if kind == FUNCTION_SYMBOL else ""
            symbols.append(_Symbol(kind, name, index, undefined=undefined))
    return symbols


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    """The address in the object and the content of each segment."""
    reader, segments = _Reader(data), []
    for _ in range(reader.number()):
        assert reader.number() == 0 and reader.byte() == 0x41, "a segment whose address is not a constant"
        address = reader.signed()
        assert reader.byte() == 0x0B
        segments.append((address, reader.take(reader.number())))
    return segments


def _relocate(section: bytes, relocations: bytes, symbols: list[_Symbol], places: list[int]) -> bytes:
    reader, written = _Reader(relocations), bytearray(section)
    reader.number()  # index of the section
    for kind, offset, symbol, addend in _entries(reader):
        if kind in OF_INDICES:
            continue
        if kind not in OF_ADDRESSES:
            raise ValueError(f"a relocation of the kind {kind}")
        value = OF_ADDRESSES[kind](places[symbols[symbol].index] + symbols[symbol].offset + addend)
        written[offset:offset + len(value)] = value
    return bytes(written)


def _entries(reader: _Reader) -> Iterator[tuple[int, int, int, int]]:
    for _ in range(reader.number()):
        kind, offset, symbol = reader.byte(), reader.number(), reader.number()
        yield kind, offset, symbol, reader.signed() if kind in OF_ADDRESSES else 0


def _leb(value: int) -> bytes:
    parts = []
    while True:
        parts.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(parts)


def _padded(value: int, signed: bool) -> bytes:
    """LEB128 padded to five bytes, as in object files, so that any address fits in place."""
    parts = [value >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)]
    return bytes([*parts, value >> 28 & (0x7F if signed else 0x0F)])


def _vector(items: list[bytes]) -> bytes:
    return _leb(len(items)) + b"".join(items)


def _name(text: str) -> bytes:
    return _leb(len(text.encode())) + text.encode()
