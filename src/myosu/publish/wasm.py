"""Compiles Python functions with Numba into one WebAssembly module.

Numba generates LLVM IR for this machine. Before optimisation only the names of the target in it are specific to the
machine, so LLVM's WebAssembly back end can compile it. This runs in a separate process (``compiler.py``), because Numba
must not optimise there, and because LLVM ends the process if it fails.
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

#: What every browser of the last years has (the newest is SIMD, since 2021; in Safari since 2023).
FEATURES = "+simd128,+bulk-memory,+sign-ext,+nontrapping-fptoint,+mutable-globals"
TRIPLE = "wasm32-unknown-unknown"
#: Functions that the page has for us, most of them in JavaScript's ``Math``.
MATHEMATICS = {name + kind for kind in ("", "f") for name in (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "pow", "sqrt", "cbrt", "hypot", "fmod", "sin", "cos",
    "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh")}
#: Memory for arrays that the rules make; the page takes it back after each call.
ARRAYS = {"NRT_MemInfo_alloc", "NRT_MemInfo_alloc_aligned", "NRT_MemInfo_alloc_safe_aligned"}
#: What rules call only where they raise an exception: the page then says that they broke off.
RAISING = {"NRT_Allocate", "NRT_Free", "PyErr_SetString", "PyBytes_FromStringAndSize",
           "numba_runtime_build_excinfo_struct"}
#: Our own functions around the rules are nobody's fault.
OURS = "exports.py"
#: The data begins behind the stack.
STACK = 65536


@dataclass(frozen=True)
class Export:
    """``function`` [plain Python, which calls compiled functions] under a ``name``, with Numba's ``signature``."""

    name: str
    signature: Any
    function: Callable


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
    # What only the outermost functions call tells Python of an exception; the page does that in its own way.
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
        why = "it needs Python itself, as print does" if python else "what it calls is not there"
        raise UserError(f"{_first_to_call(error.names, copies)} cannot be compiled for the browser: {why} "
                        f"({', '.join(error.names)}).") from None


def _to_llvm(export: Export, machine: llvm.TargetMachine, copies: dict[int, Any]) -> llvm.ModuleRef:
    """What Numba makes of it, as if this machine were the browser."""
    try:
        made = numba.cfunc(export.signature, error_model="numpy")(_plain(export.function, copies))
    except NumbaError as error:
        raise UserError(_in_short(error, export.name)) from error
    text = made.inspect_llvm().replace(made.native_name, export.name)
    text = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', text)
    text = re.sub(r'target triple = ".*"', f'target triple = "{TRIPLE}"', text)
    text = re.sub(r"= common (local_unnamed_addr )?global", "= internal global", text)
    # Nobody counts references to arrays whose memory is taken back all at once.
    text = re.sub(r"^define [^\n]*@NRT_(incref|decref)\(.*?^}",
                  r"define linkonce_odr void @NRT_\1(ptr %0) { ret void }", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(@PyExc_\w+) = external global i8", r"\1 = internal global i8 0", text, flags=re.MULTILINE)
    text = re.sub(r"attributes #(\d+) = \{[^}]*\}", r"attributes #\1 = { nounwind }", text)
    module = llvm.parse_assembly(text)
    module.verify()
    return module


def _in_short(error: NumbaError, name: str) -> str:
    """Of Numba's pages, the innermost line of the rules and the reason."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    places = [place for place in re.findall(r'File "([^"]+)", line (\d+)', text) if not place[0].endswith(OURS)]
    reasons = [line.strip(" -") for line in text.splitlines() if line.strip(" -")]
    reason = next((r for r in reasons if not r.startswith(("Failed in", "During", "File ", "Resolution"))), "")
    where = f"{places[-1][0]}, line {places[-1][1]}: " if places else ""
    return f"{where}{name} cannot be compiled for the browser: {reason}"


def _first_to_call(names: list[str], copies: dict[int, Any]) -> str:
    """The Python function that needs one of ``names``. Of all copies, those that others call come first."""
    for copy in copies.values():
        overloads: list[Any] = list(copy.overloads.values()) if isinstance(copy, Dispatcher) else []
        for compiled in overloads:
            own = compiled.fndesc.llvm_func_name
            if any(caller == own and name in names for caller, name in _calls(compiled.library.get_llvm_str())):
                code = copy.py_func.__code__
                return f"{code.co_filename}, line {code.co_firstlineno}: {copy.py_func.__name__}"
    return "A function"


def _plain(function: Callable, copies: dict[int, Any]) -> Callable:
    """``function`` with copies of all compiled functions that it calls: fresh ones, nothing of them from a cache."""
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
    copies[id(function)] = made  # before what it calls, which may be itself
    scope.update({name: copied(scope[name]) for name in loaded & scope.keys()})
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        cell.cell_contents = copied(old.cell_contents)
    return made


def _copy(dispatcher: Dispatcher, copies: dict[int, Any]) -> Any:
    """copies: of Python functions and of dispatchers, by the identity of what they are copies of."""
    function = dispatcher.py_func
    if id(function) not in copies:
        _plain(function, copies)
    if id(dispatcher) not in copies:
        copies[id(dispatcher)] = numba.njit(copies[id(function)], error_model="numpy", 
                                            fastmath=dispatcher.targetoptions.get("fastmath", False))
    return copies[id(dispatcher)]


def _calls(text: str) -> Iterator[tuple[str, str]]:
    """In LLVM's language, (the function that calls, the called one)."""
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
