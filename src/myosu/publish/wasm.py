"""Compiles Python functions with Numba into one WebAssembly module.

Numba generates LLVM IR for this machine. Before optimisation only the name of the target in the IR is specific to the
machine, so LLVM's WebAssembly back end can compile it. This runs in a separate process (``compiler.py``), because Numba
must not optimise, and because LLVM ends the process if it fails.
"""

from __future__ import annotations

import dis
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from myosu.errors import UserError
from myosu.publish.linker import Module, UndefinedSymbols, link

#: WebAssembly features that all current browsers support (the newest is SIMD: 2021, Safari 2023).
FEATURES = "+simd128,+bulk-memory,+sign-ext,+nontrapping-fptoint,+mutable-globals"
TRIPLE = "wasm32-unknown-unknown"
#: Functions that the page provides, most of them from JavaScript's ``Math``.
MATHEMATICS = {name + kind for kind in ("", "f") for name in (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "pow", "sqrt", "cbrt", "hypot", "fmod", "sin", "cos",
    "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh")}
#: Functions that allocate arrays for the rules; the page frees the memory after each call.
ARRAYS = {"NRT_MemInfo_alloc", "NRT_MemInfo_alloc_aligned", "NRT_MemInfo_alloc_safe_aligned"}
#: Functions that rules call only to raise an exception, which the page then reports.
RAISING = {"NRT_Allocate", "NRT_Free", "PyErr_SetString", "PyBytes_FromStringAndSize",
           "numba_runtime_build_excinfo_struct"}
#: File of Myosu's wrappers of the rules, which error messages should not point to.
OURS = "exports.py"
#: Size of the stack in bytes; the data begins after it.
STACK = 65536


@dataclass(frozen=True)
class Export:
    """A function to export as ``name``: plain Python that calls compiled functions, with Numba's ``signature``."""

    name: str
    signature: Any
    function: Callable


def compile_module(exports: list[Export]) -> Module:
    """Compile ``exports`` to one module. Raises UserError, which names the function that cannot be compiled."""
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
    # Functions that only the exports themselves call report exceptions to Python; the page replaces them.
    inner = {name for caller, name in _calls(str(whole)) if caller not in names}
    of_exceptions = {f.name for f in whole.functions if f.is_declaration} - inner
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(whole, builder)
    try:
        return link(machine.emit_object(whole), sorted(names), MATHEMATICS | ARRAYS | RAISING | of_exceptions, STACK)
    except UndefinedSymbols as error:
        python = any(name.startswith(("Py", "numba_gil")) for name in error.names)
        why = "it needs Python itself, as print does" if python else "it calls a function that is not available"
        raise UserError(f"{_first_to_call(error.names, copies)} cannot be compiled for the browser: {why} "
                        f"({', '.join(error.names)}).") from None


def _to_llvm(export: Export, machine: llvm.TargetMachine, copies: dict[int, Any]) -> llvm.ModuleRef:
    """Numba's LLVM IR of ``export``, changed to the target ``machine``."""
    try:
        made = numba.cfunc(export.signature, error_model="numpy")(_plain(export.function, copies))
    except NumbaError as error:
        raise UserError(_in_short(error, export.name)) from error
    text = made.inspect_llvm().replace(made.native_name, export.name)
    text = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', text)
    text = re.sub(r'target triple = ".*"', f'target triple = "{TRIPLE}"', text)
    text = re.sub(r"= common (local_unnamed_addr )?global", "= internal global", text)
    # No reference counting: the memory of all arrays is freed together.
    text = re.sub(r"^define [^\n]*@NRT_(incref|decref)\(.*?^}",
                  r"define linkonce_odr void @NRT_\1(ptr %0) { ret void }", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(@PyExc_\w+) = external global i8", r"\1 = internal global i8 0", text, flags=re.MULTILINE)
    text = re.sub(r"attributes #(\d+) = \{[^}]*\}", r"attributes #\1 = { nounwind }", text)
    module = llvm.parse_assembly(text)
    module.verify()
    return module


def _in_short(error: NumbaError, name: str) -> str:
    """A short message from Numba's long error: the innermost line of the rules and the reason."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    places = [place for place in re.findall(r'File "([^"]+)", line (\d+)', text) if not place[0].endswith(OURS)]
    reasons = [line.strip(" -") for line in text.splitlines() if line.strip(" -")]
    reason = next((r for r in reasons if not r.startswith(("Failed in", "During", "File ", "Resolution"))), "")
    where = f"{places[-1][0]}, line {places[-1][1]}: " if places else ""
    return f"{where}{name} cannot be compiled for the browser: {reason}"


def _first_to_call(names: list[str], copies: dict[int, Any]) -> str:
    """Location and name of the Python function that calls one of ``names``. ``copies`` has callees before callers."""
    for copy in copies.values():
        overloads: list[Any] = list(copy.overloads.values()) if isinstance(copy, Dispatcher) else []
        for compiled in overloads:
            own = compiled.fndesc.llvm_func_name
            if any(caller == own and name in names for caller, name in _calls(compiled.library.get_llvm_str())):
                code = copy.py_func.__code__
                return f"{code.co_filename}, line {code.co_firstlineno}: {copy.py_func.__name__}"
    return "A function"


def _plain(function: Callable, copies: dict[int, Any]) -> Callable:
    """A copy of ``function`` that calls new copies of all its compiled functions, without anything from a cache."""
    code = function.__code__
    loaded: set[str] = set()
    attributes: set[str] = set()
    for instruction in dis.get_instructions(code):
        (loaded if instruction.opname == "LOAD_GLOBAL" else attributes).add(instruction.argval)

    def copied(value: Any) -> Any:
        if isinstance(value, Dispatcher):
            return _copy(value, copies)
        if isinstance(value, types.ModuleType):
            called = {name: _copy(found, copies) for name, found in vars(value).items()
                      if name in attributes and isinstance(found, Dispatcher)}
            if called:
                other = types.ModuleType(value.__name__)
                vars(other).update(vars(value) | called)
                return other
        return value

    scope, cells = dict(function.__globals__), tuple(types.CellType() for _ in function.__closure__ or ())
    made = types.FunctionType(code, scope, function.__name__, function.__defaults__, cells or None)
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    copies[id(function)] = made  # first, because it may call itself
    scope.update({name: copied(scope[name]) for name in loaded & scope.keys()})
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        cell.cell_contents = copied(old.cell_contents)
    return made


def _copy(dispatcher: Dispatcher, copies: dict[int, Any]) -> Any:
    """Copy a compiled function. copies: copies of Python functions and dispatchers, by the ``id`` of the original."""
    function = dispatcher.py_func
    if id(function) not in copies:
        _plain(function, copies)
    if id(dispatcher) not in copies:
        copies[id(dispatcher)] = numba.njit(copies[id(function)], error_model="numpy", 
                                            fastmath=dispatcher.targetoptions.get("fastmath", False))
    return copies[id(dispatcher)]


def _calls(text: str) -> Iterator[tuple[str, str]]:
    """All calls in LLVM IR, as (caller, callee)."""
    name = r'@(?:"([^"]+)"|([\w.$]+))\('
    inside = ""
    for line in text.splitlines():
        if not line.startswith("define ") and "call " not in line:
            continue
        if found := re.search(name, line):
            if line.startswith("define "):
                inside = found[1] or found[2]
            else:
                yield inside, found[1] or found[2]
