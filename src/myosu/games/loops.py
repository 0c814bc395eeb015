"""Compiled loops over the rules of a game, cached on disk.

Numba's own cache always misses for a function that closes over compiled functions, because it identifies them by an id
that is new in every process. Here they are identified by their source file, its version, and the values they read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.dispatcher import Dispatcher

from myosu.games.cache import TolerantCache


def compiled_loop(function: Callable) -> Any:
    """Compile a function that closes over rules. It is cached if every compiled function that it calls is cached, and
    if it closes over only compiled functions, numbers, strings, arrays, dtypes and tuples of them."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    versions: list[Any] = []
    try:
        name = hashlib.sha256(repr(_described(dispatcher.py_func, versions, [])).encode()).hexdigest()[:16]
    except _NotKnownAgain:
        return dispatcher
    dispatcher._cache = _LoopCache(dispatcher.py_func, name, versions)
    return dispatcher


class _NotKnownAgain(Exception):
    """A value that another process could not recognise as the same, so the function is not cached."""


class _LoopCache(TolerantCache):
    """A file cache with separate files for each ``name``. An entry is stale if a version differs."""

    def __init__(self, function: FunctionType, name: str, versions: list[Any]) -> None:
        super().__init__(function)
        self._name_of_loop = name
        self._cache_file = IndexDataCacheFile(self._cache_path, f"{self._impl.filename_base}.{name}",
                                              (self._impl.locator.get_source_stamp(), *versions))

    def _index_key(self, sig: Any, codegen: Any) -> tuple:
        return sig, codegen.magic_tuple(), self._name_of_loop

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super()._load_overload(sig, target_context)
        # Two processes that compile for different types at the same time may write to the same file.
        return found if found is not None and found.signature.args == tuple(sig) else None


def _described(function: FunctionType, versions: list[Any], inside: list[FunctionType]) -> tuple:
    """Identity of ``function`` and of the values it reads. Appends the versions of source files to ``versions``."""
    code, inside = function.__code__, [*inside, function]
    cells = dict(zip(code.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=True))
    read = [(name, _value(value, versions, inside)) for name, value in cells.items()]
    for name in dict.fromkeys(_names(code)):
        value = function.__globals__.get(name)
        if isinstance(value, Dispatcher | int | float | str | tuple | np.generic | np.ndarray):  # others are modules
            read.append((name, _value(value, versions, inside)))
    return code.co_filename, function.__qualname__, code.co_firstlineno, read


def _value(value: Any, versions: list[Any], inside: list[FunctionType]) -> Any:
    if isinstance(value, Dispatcher):
        if value.py_func in inside:
            return "itself"
        cache = value._cache  # type: ignore[attr-defined]
        if not isinstance(cache, FunctionCache):
            raise _NotKnownAgain
        versions.append(cache._cache_file._source_stamp)
        return _described(value.py_func, versions, inside)
    if isinstance(value, tuple):
        return tuple(_value(part, versions, inside) for part in value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if value is None or isinstance(value, int | float | str | np.generic | np.dtype):
        return type(value).__name__, repr(value)
    raise _NotKnownAgain


def _names(code: CodeType) -> Iterator[str]:
    """Global names that a function may read, including those in its comprehensions."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _names(part)
