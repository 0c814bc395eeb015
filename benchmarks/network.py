"""Forward evaluations per second of a residual tower on this CPU, by different implementations, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/network.py [--towers 2x32 3x64] [--batches 64 128 256 512] [--seconds 0.4]

The tower is the step of a MuZero search: [B, C+1, 8, 8] -> convolution, residual blocks, a policy head (65 logits) and
two categorical heads (41 atoms). All implementations compute the same function; ``error`` is the largest difference of
a logit from float32. Only ``compile`` (``--compile``) needs a compiler on the user's machine.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

ACTIONS, ATOMS, SIDE = 65, 41, 8
Forward = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


def conv_bn(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv_bn(channels, channels), conv_bn(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + x)


class Head(nn.Module):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.squeeze, self.out = conv_bn(channels, 2, 1), nn.Linear(2 * SIDE * SIDE, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(F.relu(self.squeeze(x)).flatten(1))


class Tower(nn.Module):
    def __init__(self, blocks: int, channels: int) -> None:
        super().__init__()
        self.stem = conv_bn(channels + 1, channels)
        self.blocks = nn.Sequential(*[Block(channels) for _ in range(blocks)])
        self.heads = nn.ModuleList([Head(channels, n) for n in (ACTIONS, ATOMS, ATOMS)])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.blocks(F.relu(self.stem(x)))
        return self.heads[0](x), self.heads[1](x), self.heads[2](x)


def fold(module: nn.Module) -> nn.Module:
    """A copy with batch normalisation folded into the convolutions."""
    module = copy.deepcopy(module).eval()
    for parent in list(module.modules()):
        if isinstance(parent, nn.Sequential) and len(parent) == 2 and isinstance(parent[1], nn.BatchNorm2d):
            assert isinstance(parent[0], nn.Conv2d)
            parent[0], parent[1] = fuse_conv_bn_eval(parent[0], parent[1]), nn.Identity()
    return module


class Fused:
    """The folded tower with oneDNN's fused operators: prepacked weights, ReLU and residual inside the convolution."""

    def __init__(self, tower: Tower, dtype: torch.dtype, batch: int, channels: int) -> None:
        tower = fold(tower).to(dtype)  # type: ignore[assignment]
        self.batch = batch
        self.stem = self._pack(tower.stem[0], channels + 1)
        self.blocks = [(self._pack(b.first[0], channels), self._pack(b.second[0], channels)) for b in tower.blocks]
        self.squeeze = self._pack_heads(tower, channels)
        self.outs = [(head.out.weight, head.out.bias) for head in tower.heads]

    def _pack(self, conv: nn.Conv2d, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
        assert conv.bias is not None
        weight = conv.weight.detach().contiguous(memory_format=torch.channels_last)
        packed = torch.ops.mkldnn._reorder_convolution_weight(
            weight, list(conv.padding), [1, 1], [1, 1], 1, [self.batch, inputs, SIDE, SIDE])
        return packed, conv.bias.detach()

    def _pack_heads(self, tower: Tower, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
        joined = nn.Conv2d(channels, 2 * len(tower.heads), 1, bias=True)
        joined.weight = nn.Parameter(torch.cat([head.squeeze[0].weight for head in tower.heads]))
        joined.bias = nn.Parameter(torch.cat([head.squeeze[0].bias for head in tower.heads]))
        return self._pack(joined, channels)

    @staticmethod
    def _conv(x: torch.Tensor, packed: tuple[torch.Tensor, torch.Tensor], padding: int) -> torch.Tensor:
        return torch.ops.mkldnn._convolution_pointwise(
            x, *packed, [padding, padding], [1, 1], [1, 1], 1, "relu", [], "")

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self._conv(x, self.stem, 1)
        for first, second in self.blocks:
            hidden = self._conv(x, first, 1)
            x = torch.ops.mkldnn._convolution_pointwise_.binary(
                x, hidden, *second, [1, 1], [1, 1], [1, 1], 1, "add", 1.0, "relu", [], None)
        squeezed = self._conv(x, self.squeeze, 0)
        return tuple(F.linear(squeezed[:, 2 * k : 2 * k + 2].flatten(1), *out) for k, out in enumerate(self.outs))


def ways(tower: Tower, batch: int, channels: int, compiled: bool) -> dict[str, tuple[Forward, torch.Tensor]]:
    """Name → (forward pass, its input)."""
    plain = torch.randn(batch, channels + 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    folded = fold(tower)
    found: dict[str, tuple[Forward, torch.Tensor]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        kind = "float32" if dtype == torch.float32 else "bfloat16"
        x, last = plain.to(dtype), plain.to(dtype).contiguous(memory_format=torch.channels_last)
        low = copy.deepcopy(folded).to(dtype)
        low_last = copy.deepcopy(low).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found[f"{kind} eager"] = copy.deepcopy(tower).to(dtype), x
        found[f"{kind} eager last"] = (
            copy.deepcopy(tower).to(dtype, memory_format=torch.channels_last), last)  # type: ignore[call-overload]
        found[f"{kind} folded"] = low, x
        found[f"{kind} folded last"] = low_last, last
        for suffix, module, inputs in (("", low, x), (" last", low_last, last)):
            frozen = torch.jit.freeze(torch.jit.trace(module, inputs))
            found[f"{kind} jit.freeze{suffix}"] = frozen, inputs
            frozen = torch.jit.freeze(torch.jit.trace(module, inputs))
            found[f"{kind} jit.optimize{suffix}"] = torch.jit.optimize_for_inference(frozen), inputs
        found[f"{kind} fused oneDNN"] = Fused(tower, dtype, batch, channels), last
        if compiled:
            found[f"{kind} compile"] = torch.compile(low_last, dynamic=False), last
            frozen_by_inductor = torch.compile(copy.deepcopy(low_last), dynamic=False, options={"freezing": True})
            found[f"{kind} compile freezing"] = frozen_by_inductor, last
    return found


def rate(forward: Forward, x: torch.Tensor, seconds: float) -> float:
    """Evaluations per second, median of five measurements."""
    for _ in range(3):
        forward(x)
    rates = []
    for _ in range(5):
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds / 5:
            forward(x)
            count += 1
        rates.append(count * len(x) / (time.perf_counter() - start))
    return statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--towers", nargs="+", default=["2x32", "3x64"], help="blocks x channels")
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 128, 256, 512])
    parser.add_argument("--seconds", type=float, default=0.5, help="seconds per measurement")
    parser.add_argument("--compile", action="store_true", help="also torch.compile (needs a C++ compiler)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.towers:
        blocks, channels = map(int, name.split("x"))
        for batch in args.batches:
            torch.manual_seed(0)
            tower = Tower(blocks, channels).eval()
            with torch.inference_mode():
                rows = []
                wanted: tuple[torch.Tensor, ...] = ()
                for way, (forward, x) in ways(tower, batch, channels, args.compile).items():
                    try:
                        outputs = forward(x)
                        wanted = wanted or outputs
                        error = max(float((a.float() - b).abs().max()) for a, b in zip(outputs, wanted, strict=True))
                        rows.append((rate(forward, x, args.seconds), way, f"{error:.1e}"))
                    except (RuntimeError, NotImplementedError) as problem:
                        rows.append((0.0, way, str(problem).splitlines()[0][:80]))
            print(f"\ntower {name}, batch {batch}")
            for speed, way, error in sorted(rows, reverse=True):
                print(f"  {speed:9,.0f} evaluations/s  {way:26} error {error}", flush=True)


if __name__ == "__main__":
    main()
