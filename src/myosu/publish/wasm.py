"""Python functions, compiled by Numba, as one WebAssembly module.

Numba writes LLVM's language for this machine; nothing in it is of this machine before it is optimised, but the names of
the target. So LLVM's other back end takes it from there. Run it in a process of its own, with ``ENVIRONMENT``: Numba
then leaves all optimisation to us, and where LLVM gives up it ends its process.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from myosu.errors import UserError
from myosu.games.registry import compilation_error
from myosu.publish.linker import Module, UndefinedSymbols, link

#: For the process that compiles: what Numba writes is not optimised for its processor.
ENVIRONMENT = {"NUMBA_OPT": "0", "NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0", "NUMBA_CPU_NAME": "generic",
               "NUMBA_CPU_FEATURES": ""}
#: What every browser of the last years has (the newest is SIMD, since 2021; in Safari since 2023).
FEATURES = "+simd128,+bulk-memory,+sign-ext,+nontrapping-fptoint,+mutable-globals"
TRIPLE = "wasm32-unknown-unknown"
#: Functions that the page has for us, most of them in JavaScript's ``Math``.
MATHEMATICS = {"exp", "expf", "log", "logf", "sin", "cos", "tan", "pow", "powf", "tanh", "tanhf", "fmod", "fmodf", "log1p",
               "expm1", "exp2", "log2", "log10", "atan", "atan2", "sqrt", "cbrt", "hypot", "sinh", "cosh", "asin", "acos"}
#: The data begins behind the stack.
STACK = 65536


@dataclass(frozen=True)
class Export:
    """``function`` [plain Python, which calls compiled functions] under a ``name``, with Numba's ``signature``. part:
    whose it is, for messages."""

    name: str
    signature: Any
    function: Callable
    part: str = ""


def compile_module(exports: list[Export]) -> Module:
    """All of ``exports`` in one module. Raises UserError with the function that cannot be compiled."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(opt=3, features=FEATURES)
    copies: dict[int, Any] = {}
    whole = llvm.parse_assembly("")
    for export in exports:
        whole.link_in(_to_llvm(export, machine, copies))
    names = {export.name for export in exports}
    for function in whole.functions:
        if not function.is_declaration and function.name not in names:
            function.linkage = "internal"
    callers = _callers(str(whole))
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(whole, builder)
    try:
        return link(machine.emit_object(whole), sorted(names), MATHEMATICS, STACK)
    except UndefinedSymbols as error:
        where = ", ".join(sorted({caller for name in error.names for caller in callers.get(name, ())}))
        raise UserError(f"{where or 'A function'} cannot be compiled for the browser: it needs "
                        f"{', '.join(error.names)}.") from None


def _to_llvm(export: Export, machine: llvm.TargetMachine, copies: dict[int, Any]) -> llvm.ModuleRef:
    """What Numba makes of it, as if this machine were the browser."""
    try:
        made = numba.cfunc(export.signature, error_model="numpy")(_plain(export.function, copies))
    except NumbaError as error:
        raise UserError(compilation_error(error, export.part, export.function)) from error
    text = made.inspect_llvm().replace(made.native_name, export.name)
    text = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', text)
    text = re.sub(r'target triple = ".*"', f'target triple = "{TRIPLE}"', text)
    text = re.sub(r"= common (local_unnamed_addr )?global", "= internal global", text)
    text = re.sub(r"attributes #(\d+) = \{[^}]*\}", r"attributes #\1 = { nounwind }", text)
    module = llvm.parse_assembly(text)
    module.verify()
    return module


def _plain(function: Callable, copies: dict[int, Any]) -> Callable:
    """``function`` with copies of all compiled functions that it calls: fresh ones, without the counting of references,
    and nothing of them from a cache."""
    def copied(value: Any) -> Any:
        if not isinstance(value, Dispatcher):
            return value
        if id(value) not in copies:
            copies[id(value)] = numba.njit(error_model="numpy", _nrt=False, fastmath=value.targetoptions.get("fastmath", False))(
                _plain(value.py_func, copies))
        return copies[id(value)]

    names = set(function.__code__.co_names)
    scope = {name: copied(value) if name in names else value for name, value in function.__globals__.items()}
    cells = tuple(types.CellType(copied(cell.cell_contents)) for cell in function.__closure__ or ())
    made = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells or None)
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    return made


def _callers(text: str) -> dict[str, list[str]]:
    """For every function that is only declared, the Python functions that call it themselves."""
    callers: dict[str, list[str]] = {}
    inside = ""
    for line in text.splitlines():
        if line.startswith("define "):
            inside = line
        elif inside and "call " in line and (called := re.search(r'call [^@]*@"?([\w.$]+)"?\(', line)):
            callers.setdefault(called[1], []).append(_python_name(inside))
    return callers


def _python_name(definition: str) -> str:
    """Of Numba's mangled names, which hold the parts of the Python one with their lengths."""
    parts, rest = [], re.search(r"@\"?_ZN([^\"( ]*)", definition)
    text = rest[1] if rest else ""
    while match := re.match(r"(\d+)", text):
        size = int(match[1])
        parts.append(text[match.end():match.end() + size])
        text = text[match.end() + size:]
    return parts[-1] if parts else definition
