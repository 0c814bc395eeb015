"""A residual tower's layer forward and backward, and a model step at inference, in float32: Winograd convolutions
against torch's, measured alternately. Medians of the CPU time of one thread.

    python benchmarks/winograd.py [--rounds 40]

To emulate a laptop without AVX-512 on a processor that has it:

    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+64bit,+avx,+avx2,+fma,+bmi,+bmi2,+sse4.2,+popcnt,+f16c,+lzcnt \\
        NUMBA_CACHE_DIR=/tmp/haswell ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/winograd.py
"""

import argparse
import time
from statistics import median

import torch

from myosu.kernels import winograd
from myosu.nets.conv_norm import ConvNorm
from myosu.nets.fused import FusedMuZero
from myosu.nets.muzero import MuZeroNet
from myosu.processes import keep_freed_memory


def in_turn(calls, rounds: int) -> list[float]:
    """Median seconds of each call, after a third as many warm-up rounds."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + rounds // 3):
        for call, taken in zip(calls, times, strict=True):
            start = time.thread_time()
            call()
            taken.append(time.thread_time() - start)
    return [median(taken[rounds // 3:]) for taken in times]


def learning(rounds: int, boards: int, height: int, width: int, channels: int) -> list[float]:
    layer = ConvNorm(channels, channels).train()
    x, slopes = (torch.randn(boards, channels, height, width).to(memory_format=torch.channels_last) for _ in range(2))
    x.requires_grad_()

    def learn(products: bool) -> None:
        winograd.AVAILABLE = products
        layer(x, residual=x).backward(slopes)

    return in_turn([lambda: learn(False), lambda: learn(True)], rounds)


@torch.inference_mode()
def inference(rounds: int, boards: int, shape: tuple[int, int, int], actions: int, channels: int) -> list[float]:
    net = MuZeroNet(shape, actions, channels, blocks=2, atoms=41, rewards=False).eval().for_inference(torch.float32)
    latent = torch.rand(boards, channels, *shape[1:]).to(memory_format=torch.channels_last)
    action = torch.zeros(boards, dtype=torch.long)
    winograd.AVAILABLE = False
    usual = FusedMuZero(net, boards)
    winograd.AVAILABLE = True
    ours = FusedMuZero(net, boards)
    return in_turn([lambda: usual.recurrent(latent, action), lambda: ours.recurrent(latent, action)], rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()  # as `myosu train` does
    print(f"vectors of {winograd.LANES}; microseconds, torch's convolutions and Winograd's products")
    for boards, height, width, channels in ((64, 8, 8, 32), (64, 6, 7, 32), (256, 6, 7, 64), (64, 8, 8, 64),
                                            (64, 19, 19, 32)):
        report("learning", boards, (height, width), channels, learning(rounds, boards, height, width, channels))
    for shape, actions, channels in (((3, 8, 8), 65, 32), ((2, 6, 7), 7, 64)):
        for boards in (1, 16, 128):
            report("inference", boards, shape[1:], channels, inference(5 * rounds, boards, shape, actions, channels))


def report(what: str, boards: int, board: tuple[int, ...], channels: int, seconds: list[float]) -> None:
    usual, ours = seconds
    print(f"{what:9} {boards:3} boards of {'x'.join(map(str, board)):5} {channels} channels: {usual * 1e6:7.0f} "
          f"{ours * 1e6:7.0f}  {usual / ours:.2f} times")


if __name__ == "__main__":
    main()
