"""Helpers for Numba intrinsics written in LLVM IR: vector registers, and loads and stores of array elements."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import types
from numba.core.errors import RequireLiteralValue

INDEX, WORD, REAL = ir.IntType(64), ir.IntType(32), ir.FloatType()


def processor_features() -> set[str]:
    """The CPU features that Numba compiles for: "avx2", "avx512f" and so on."""
    chosen: str | None = getattr(numba.config, "CPU_FEATURES", None)
    if chosen:
        return {name[1:] for name in chosen.split(",") if name.startswith("+")}
    return {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}


def constants(*given: Any) -> list[Any]:
    """The values of arguments that must be compile-time constants."""
    if not all(isinstance(one, types.Literal) for one in given):
        raise RequireLiteralValue("must be constants")
    return [one.literal_value for one in given]


class Writer:
    """Emits LLVM instructions on vectors of ``lanes`` floats. given: the intrinsic's argument values."""

    def __init__(self, context, builder, signature, given, lanes: int) -> None:
        self.context, self.builder, self.signature, self.given = context, builder, signature, given
        self.lanes = lanes
        self.reals = ir.VectorType(REAL, lanes)

    def data(self, k: int):
        """Data pointer of the array argument ``k``."""
        return self._array(k).data

    def size(self, k: int):
        return self._array(k).nitems

    def _array(self, k: int):
        return self.context.make_array(self.signature.args[k])(self.context, self.builder, self.given[k])

    def number(self, k: int):
        """Argument ``k`` as a 64-bit index."""
        return self.context.cast(self.builder, self.given[k], self.signature.args[k], types.intp)

    def load(self, pointer, place, kind):
        return self.builder.load(self._at(pointer, place, kind), align=1)

    def store(self, value, pointer, place) -> None:
        self.builder.store(value, self._at(pointer, place, value.type), align=1)

    def _at(self, pointer, place, kind):
        return self.builder.bitcast(self.builder.gep(pointer, [place]), kind.as_pointer())

    def plus(self, a, b):
        return self.builder.add(a, b if isinstance(b, ir.Value) else INDEX(b))

    def times(self, a, b):
        return self.builder.mul(a, b if isinstance(b, ir.Value) else INDEX(b))

    def constant(self, value: float):
        """``value`` in every lane."""
        return ir.Constant(self.reals, [value] * self.lanes)

    def broadcast(self, scalar):
        """``scalar`` in every lane."""
        nothing = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(nothing, scalar, WORD(0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(WORD, self.lanes), None))

    def multiply_add(self, a, b, c):
        """a · b + c, fused (rounded once) where the processor supports it."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])
