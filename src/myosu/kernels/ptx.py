"""Runs Numba functions on NVIDIA GPUs without a CUDA toolkit: llvmlite's nvptx target compiles Numba's LLVM IR, and the
driver loads the PTX. So the game rules and the search have the same source on CPU and GPU.

Not supported: allocation, exceptions and the C library. ``math.exp`` is replaced by a polynomial.
"""

from __future__ import annotations

import ctypes
import math
import re
import types
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import torch
from numba.core.dispatcher import Dispatcher

#: Threads per block: the minimum (one warp), so that a few thousand trees spread over all multiprocessors.
THREADS = 32


@numba.njit(error_model="numpy")
def exp(x):
    """eˣ of a float64, with a relative error of 2e-15; x is clipped to at least −700."""
    x = max(x, -700.0)
    k = math.floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    series = 1.0 / 479001600.0
    for n in (39916800.0, 3628800.0, 362880.0, 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0):
        series = series * r + 1.0 / n
    return series * np.int64((np.int64(k) + 1023) << 52).view(np.float64)


class Kernel:
    """Runs ``function(i, *arguments)`` for every i < count, each in its own GPU thread.

    signature: Numba types of the arguments: ``CPointer``, int64 or float64. ``function`` accesses arrays with
    ``numba.carray`` and may call other compiled functions.
    """

    def __init__(self, function: Callable, signature: list[Any]) -> None:
        self.function, self.signature = function, signature
        self._handles: dict[int, Any] = {}

    def launch(self, count: int, *arguments: torch.Tensor | int | float) -> None:
        """Launch on torch's current stream. Tensors must be contiguous; their dtypes are not checked. With CPU tensors
        the function runs on the CPU, one index at a time."""
        if not any(isinstance(argument, torch.Tensor) and argument.is_cuda for argument in arguments):
            self._run_here(count, arguments)
            return
        values: list[Any] = [ctypes.c_int64(count)]
        for argument in arguments:
            if isinstance(argument, torch.Tensor):
                values.append(ctypes.c_void_p(argument.data_ptr()))
            else:
                values.append(ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_int64(argument))
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        _check(_driver().cuLaunchKernel(self._handle(), (count + THREADS - 1) // THREADS, 1, 1, THREADS, 1, 1, 0,
                                        stream, addresses, None))

    def _handle(self) -> Any:
        device = torch.cuda.current_device()
        if device not in self._handles:
            torch.cuda.current_stream().synchronize()  # makes the device's context current
            module, handle = ctypes.c_void_p(), ctypes.c_void_p()
            ptx = compile_ptx(self.function, self.signature)
            _check(_driver().cuModuleLoadData(ctypes.byref(module), ptx.encode()))
            _check(_driver().cuModuleGetFunction(ctypes.byref(handle), module, b"kernel"))
            self._handles[device] = handle
        return self._handles[device]

    def _run_here(self, count: int, arguments: tuple[torch.Tensor | int | float, ...]) -> None:
        values = [argument.data_ptr() if isinstance(argument, torch.Tensor) else argument for argument in arguments]
        kinds = [ctypes.c_void_p if isinstance(kind, numba.types.CPointer) else
                 ctypes.c_double if kind == numba.float64 else ctypes.c_int64 for kind in self.signature]
        call = ctypes.CFUNCTYPE(None, ctypes.c_int64, *kinds)(self._here.address)
        for i in range(count):
            call(i, *values)

    @cached_property
    def _here(self) -> Any:
        return numba.cfunc(numba.void(numba.int64, *self.signature), error_model="numpy")(
            _for_device(self.function, {}))


def is_nvidia_gpu(device: torch.device) -> bool:
    """Whether kernels can run on ``device``. (torch calls AMD GPUs "cuda" as well.)"""
    return device.type == "cuda" and torch.version.hip is None


def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _check(code: int) -> None:
    if code:
        name = ctypes.c_char_p()
        _driver().cuGetErrorName(code, ctypes.byref(name))
        raise RuntimeError(f"CUDA driver error {(name.value or b'').decode()} ({code})")


def compile_ptx(function: Callable, signature: list[Any], processor: str = "sm_80") -> str:
    """Compile ``function`` to PTX with the entry point ``kernel``; see ``Kernel``."""
    whole = numba.void(numba.int64, *signature)
    scalar_only = {"LOOP_VECTORIZE": 0, "SLP_VECTORIZE": 0}
    before = {name: getattr(numba.core.config, name) for name in scalar_only}
    try:
        for name, value in scalar_only.items():
            setattr(numba.core.config, name, value)
        compiled = numba.cfunc(whole, error_model="numpy")(_for_device(function, {}))
        source = compiled.inspect_llvm()
    finally:
        for name, value in before.items():
            setattr(numba.core.config, name, value)

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("nvptx64-nvidia-cuda")
    machine = target.create_target_machine(cpu=processor, features="+ptx78", opt=3)
    source = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', source)
    source = re.sub(r'target triple = ".*"', 'target triple = "nvptx64-nvidia-cuda"', source)
    source = re.sub(r"= common (local_unnamed_addr )?global", "= internal global", source)
    source = re.sub(r"attributes #(\d+) = \{[^}]*\}", r"attributes #\1 = { nounwind }", source)
    source = source.replace(compiled.native_name, "one") + _entry(signature)
    module = llvm.parse_assembly(source)
    module.verify()
    for found in module.functions:
        if not found.is_declaration and found.name != "kernel":
            found.linkage = "internal"
    for variable in module.global_variables:
        variable.linkage = "internal" if not variable.is_declaration else variable.linkage
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    missing = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    if missing:
        raise RuntimeError(f"{function.__name__} calls {', '.join(missing)}, which a GPU does not have")
    return machine.emit_assembly(module)


def _entry(signature: list[Any]) -> str:
    """LLVM IR of the kernel, which calls ``one`` with the thread's index."""
    kinds = ["ptr" if isinstance(kind, numba.types.CPointer) else
             "double" if kind == numba.float64 else "i64" for kind in signature]
    taken = "".join(f", {kind} %a{k}" for k, kind in enumerate(kinds))
    return f"""
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
define ptx_kernel void @kernel(i64 %count{taken}) {{
  %thread = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %block = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %width = call i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
  %before = mul i32 %block, %width
  %place = add i32 %before, %thread
  %i = zext i32 %place to i64
  %inside = icmp ult i64 %i, %count
  br i1 %inside, label %go, label %out
go:
  call void @one(i64 %i{taken})
  br label %out
out:
  ret void
}}
"""


def _for_device(function: Callable, done: dict[int, Any]) -> types.FunctionType:
    """A copy of ``function`` in which everything it calls is compiled without features that GPUs lack."""

    def there(value: Any) -> Any:
        if value is math:
            return _device_math()
        if not isinstance(value, Dispatcher):
            return value
        if id(value) not in done:
            done[id(value)] = _without_memory(_for_device(value.py_func, done), **{
                key: value.targetoptions[key] for key in ("error_model", "fastmath") if key in value.targetoptions})
        return done[id(value)]

    names = function.__globals__ | {name: there(function.__globals__[name]) for name in function.__code__.co_names
                                    if name in function.__globals__}
    cells = tuple(types.CellType(there(cell.cell_contents)) for cell in function.__closure__ or ())
    return types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells or None)


@cache
def _device_math() -> types.ModuleType:
    module = types.ModuleType("math")
    module.__dict__.update(vars(math))
    module.exp = _without_memory(exp.py_func, error_model="numpy")  # type: ignore[attr-defined]
    return module


def _without_memory(function: Callable, **options: Any) -> Any:
    """``function`` compiled without Numba's runtime (reference counts), which a GPU does not have."""
    return numba.njit(_nrt=False, **options)(function)  # type: ignore[call-overload]
