"""The quickest form of a model on this machine."""

from __future__ import annotations

import time
from statistics import median
from typing import Literal

import torch

from myosu.nets.fused import FusedMuZero, fused
from myosu.nets.muzero import MuZeroNet

Precision = Literal["float32", "bfloat16"]
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """``auto``: cuda, else Apple's mps, else the CPU."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def inference_model(net: MuZeroNet, dtype: torch.dtype, device: torch.device, batch: int) -> MuZeroNet | FusedMuZero:
    """A frozen copy of ``net``, for batches of about ``batch``. Run it under ``torch.inference_mode``."""
    with torch.inference_mode():
        plain = net.for_inference(dtype).to(device)
        return (device.type == "cpu" and fused(plain, batch)) or plain


def choose_precision(net: MuZeroNet, device: torch.device, batch: int) -> Precision:
    """The name of the quicker type for inference, by a short timing. bfloat16 pays only where the processor has it,
    and must win by a fifth, so that noise does not choose it."""
    latent = torch.rand(batch, *net.latent_shape, device=device)
    action = torch.zeros(batch, dtype=torch.long, device=device)
    seconds = {}
    for name, dtype in DTYPES.items():
        model = inference_model(net, dtype, device, batch)
        x = latent.to(dtype)
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        times = []
        with torch.inference_mode():
            for _ in range(6):
                start = time.perf_counter()
                float(model.recurrent(x, action).policy_logits.float().sum())
                times.append(time.perf_counter() - start)
        seconds[name] = median(times[1:])
    return "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"
