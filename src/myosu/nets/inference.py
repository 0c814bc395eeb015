"""Chooses the device, precision and implementation of a model for inference on this machine."""

from __future__ import annotations

import time
from typing import Literal

import torch
from torch import Tensor

from myosu import kernels
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.losses.categorical import Support
from myosu.nets.cuda_graph import GraphedMuZero
from myosu.nets.encoder import has_images
from myosu.nets.fused import FusedMuZero, fused
from myosu.nets.int8 import Int8MuZero, int8_fits, to_bytes
from myosu.nets.muzero import MuZeroNet

Precision = Literal["float32", "bfloat16", "int8"]
InferenceModel = MuZeroNet | FusedMuZero | Int8MuZero
#: dtype of the latent states for each precision.
LATENT_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.uint8}


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``name``; ``auto``: cuda, else Apple's mps, else the CPU. Raises UserError if the named device
    is unknown or not available."""
    if name != "auto":
        kind, _, number = name.partition(":")
        if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
            raise UserError(f"device = {name}: there is no such device. Choose auto, cpu, cuda, cuda:1 or mps.")
        if (kind == "cuda" and not torch.cuda.is_available()) or (
                kind == "mps" and not torch.backends.mps.is_available()):
            raise UserError(f"device = {name}: this torch ({torch.__version__}) finds none here. Choose auto or cpu, "
                            "or install a torch for your GPU.")
        if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
            raise UserError(f"device = {name}: there are only {torch.cuda.device_count()} here, and the first is "
                            "cuda:0.")
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_for(name: str, spec: EnvSpec) -> torch.device:
    """The device for a network on observations of ``spec``: as ``choose_device``, but ``auto`` chooses the CPU if no
    part is a board or an image, because small layers run faster there than on an accelerator."""
    return torch.device("cpu") if name == "auto" and not has_images(spec) else choose_device(name)


def inference_model(net: MuZeroNet, precision: Precision, device: torch.device, batch: int,
                    observation: Tensor | None = None) -> InferenceModel:
    """A frozen copy of ``net``, for batches of about ``batch``. Run it under ``torch.inference_mode``.

    int8 requires ``int8_fits(net, device)`` and ``observation`` [n, ...], typical positions to calibrate its scales.
    """
    with torch.inference_mode():
        if precision == "int8":
            assert observation is not None
            return Int8MuZero(net.for_inference(torch.float32), batch, observation)
        plain = net.for_inference(LATENT_DTYPES[precision]).to(device)
        return (device.type == "cpu" and not kernels.PLAIN and fused(plain, batch)) or plain


def choose_precision(net: MuZeroNet, device: torch.device, batch: int) -> Precision:
    """Choose the precision for inference by a short timing: bfloat16 if it halves the time (it speeds up learning,
    too), else the faster of bfloat16 and int8, where supported. Either must take at least a fifth less
    time than float32, so that timing noise does not decide."""
    if kernels.PLAIN:
        return "float32"
    latent = torch.rand(batch, *net.latent_shape, device=device)
    action = torch.zeros(batch, dtype=torch.long, device=device)

    observation = torch.zeros(batch, *net.observation_shape, device=device)

    def seconds(precision: Precision) -> float:
        if device.type == "cuda" and net.dynamics is not None:
            return GraphedMuZero(net, Support(-1.0, 1.0, net.atoms), batch, 1, LATENT_DTYPES[precision],
                                 device).seconds()
        model = inference_model(net, precision, device, batch, torch.zeros(1, *net.observation_shape))
        x = to_bytes(latent) if precision == "int8" else latent.to(LATENT_DTYPES[precision])
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        times = []
        with torch.inference_mode():
            for _ in range(6):
                start = time.perf_counter()
                policy = (model.initial(observation)[2] if net.dynamics is None else
                          model.recurrent(x, action).policy_logits)
                float(policy.float().sum())
                times.append(time.perf_counter() - start)
        return min(times[1:])  # the minimum: other processes only ever slow a run down

    exact, half = seconds("float32"), seconds("bfloat16")
    enough = min(0.8 * exact, half)
    if half >= 0.5 * exact and int8_fits(net, device) and seconds("int8") < enough:
        return "int8"
    return "bfloat16" if half < 0.8 * exact else "float32"
