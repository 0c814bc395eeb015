"""Helpers for Numba intrinsics in LLVM IR: vector registers, and loads and stores of array elements."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import RequireLiteralValue

INDEX, WORD, SHORT, REAL = ir.IntType(64), ir.IntType(32), ir.IntType(16), ir.FloatType()


def processor_features() -> set[str]:
    """The CPU features that Numba compiles for, such as "avx2" or "avx512f"."""
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
    """Emits LLVM instructions on vectors of ``lanes`` elements of ``kind``, float32 or integers. given: the intrinsic's
    argument values."""

    def __init__(self, context, builder, signature, given, lanes: int, kind: ir.Type = REAL) -> None:
        self.context, self.builder, self.signature, self.given = context, builder, signature, given
        self.lanes, self.kind = lanes, kind
        self.vector = ir.VectorType(kind, lanes)

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
        return ir.Constant(self.vector, [value if self.kind == REAL else int(value)] * self.lanes)

    def broadcast(self, scalar):
        """``scalar`` in every lane."""
        nothing = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(nothing, scalar, WORD(0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(WORD, self.lanes), None))

    def add(self, a, b):
        return self.builder.fadd(a, b) if self.kind == REAL else self.builder.add(a, b)

    def multiply(self, a, b):
        return self.builder.fmul(a, b) if self.kind == REAL else self.builder.mul(a, b)

    def multiply_add(self, a, b, c):
        """a · b + c; for floats fused (rounded once) if the processor supports it."""
        if self.kind != REAL:
            return self.add(self.multiply(a, b), c)
        return self.builder.fadd(self.builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])


class PairWriter(Writer):
    """A writer for vectors of int32 whose factors are pairs of int16. ``multiply_add`` adds both products (VPMADDWD and
    an addition, which LLVM combines to VPDPWSSD on processors with VNNI)."""

    def __init__(self, context, builder, signature, given, lanes: int) -> None:
        super().__init__(context, builder, signature, given, lanes, WORD)
        self._shorts = ir.VectorType(SHORT, 2 * lanes)
        self._products = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.vector, [self._shorts, self._shorts]),
            "llvm.x86.avx512.pmaddw.d.512" if lanes == 16 else "llvm.x86.avx2.pmadd.wd")

    def multiply_add(self, a, b, c):
        shorts = [self.builder.bitcast(pairs, self._shorts) for pairs in (a, b)]
        return self.builder.add(self.builder.call(self._products, shorts), c)
