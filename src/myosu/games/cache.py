"""Numba's file cache for rules, which may be in files that people move."""

from __future__ import annotations

from typing import Any

from numba.core.caching import FunctionCache


class TolerantCache(FunctionCache):
    """A function is compiled again if its cached form cannot be loaded. Numba would raise an error, and go on doing so.

    A cached function names its module, and the module of a user's file is named by the file's path and contents. A
    folder that is moved together with its ``__pycache__`` therefore holds functions of a module that is nowhere.
    """

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super()._load_overload(sig, target_context)
        except Exception:  # whatever reading a pickle may raise
            return None
