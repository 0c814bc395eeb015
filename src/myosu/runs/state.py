"""Saves nested state in two files: JSON for the structure, safetensors for the arrays. Loading executes no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from myosu.replay.records import record_bytes, record_of

#: Nested dictionaries and lists of arrays, tensors, numbers and strings, as stored in a checkpoint.
State = dict[str, Any]
Weights = dict[str, torch.Tensor]

#: Keys of JSON objects that stand for values that JSON cannot represent.
ARRAY, TENSOR, TUPLE, ITEMS, RECORD = "$array", "$tensor", "$tuple", "$items", "$record"


def copied(tensors: Weights) -> Weights:
    """Copies of tensors on the CPU, without gradients."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def rounded_halves(weights: np.ndarray, bits: int) -> np.ndarray:
    """float32 [...] as float16, of whose fractions only the first ``bits`` of 10 bits are kept and the others are 0, so
    that they compress better."""
    fractions, exponents = np.frexp(weights)  # fractions from 0.5 to 1, so their first bit is 1 and is not stored
    return np.ldexp(np.rint(np.ldexp(fractions, bits + 1)), exponents - bits - 1).astype(np.float16)


def split_halves(weights: Weights) -> Weights:
    """The float32 tensors as float16, with 9 of the 10 bits of their fractions, each in two tensors of bytes: "low
    NAME" and "high NAME". A file orders them by name, so bytes of one kind follow each other and compress better."""
    found: Weights = {}
    for name, tensor in weights.items():
        if tensor.dtype != torch.float32:
            found[name] = tensor
            continue
        pairs = rounded_halves(tensor.numpy(), 9)[..., None].view(np.uint8)
        for k, which in enumerate(("low ", "high ")):
            found[which + name] = torch.from_numpy(pairs[..., k].copy())
    return found


def joined_halves(stored: Weights) -> Weights:
    """Inverse of ``split_halves``, in float32. Other tensors are returned as they are."""
    found = {name: tensor for name, tensor in stored.items() if not name.startswith(("low ", "high "))}
    for name in (name.removeprefix("low ") for name in stored if name.startswith("low ")):
        pairs = np.stack([stored[which + name].numpy() for which in ("low ", "high ")], -1)
        found[name] = torch.from_numpy(pairs.view(np.float16)[..., 0].astype(np.float32))
    return found


def save_state(folder: Path, state: dict[str, Any]) -> list[str]:
    """Write ``state`` to ``folder``. Returns the names of the files.

    state: dictionaries, lists and tuples of NumPy arrays, tensors, numbers (integers of any size), strings, booleans
    and None. ``load_state`` returns NumPy scalars as Python numbers, and tensors on the CPU.
    """
    arrays: dict[str, torch.Tensor] = {}
    tree = _pack(state, "state", arrays)
    (folder / "state.json").write_text(json.dumps(tree))
    save_file(arrays, folder / "state.safetensors")
    return ["state.json", "state.safetensors"]


def load_state(folder: Path) -> dict[str, Any]:
    return _unpack(json.loads((folder / "state.json").read_text()), load_file(folder / "state.safetensors"))


def require_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError unless the optimiser's state of each parameter consists of tensors that are scalars or have the
    parameter's shape. Optimisers load any state and would fail at the next step."""
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if not isinstance(value, torch.Tensor) or value.shape not in (parameter.shape, ()):
                raise ValueError(f"{name} of the optimiser is {str(value)[:40]!r}")


def _tuples(descr: Any) -> Any:
    """Restore NumPy's description of a dtype from JSON, which has no tuples: convert fields and shapes to tuples."""
    if not isinstance(descr, list):
        return descr
    return [tuple(tuple(part) if k == 2 else _tuples(part) for k, part in enumerate(field)) for field in descr]


def _pack(value: Any, name: str, arrays: dict[str, torch.Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.names:
        arrays[name] = torch.from_numpy(record_bytes(value))
        return {RECORD: name, "dtype": np.lib.format.dtype_to_descr(value.dtype)}
    if isinstance(value, np.ndarray):
        arrays[name] = torch.from_numpy(np.array(value, order="C"))
        return {ARRAY: name}
    if isinstance(value, torch.Tensor):
        arrays[name] = value.detach().to("cpu", copy=True).contiguous()
        return {TENSOR: name}
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {TUPLE: items}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _pack(item, f"{name}.{key}", arrays) for key, item in value.items()}
        # Keys that are not strings (such as an optimiser's integers) are stored as pairs.
        return {ITEMS: [[key, _pack(item, f"{name}.{i}", arrays)] for i, (key, item) in enumerate(value.items())]}
    raise TypeError(f"{name} is a {type(value).__name__}, which a checkpoint cannot hold")


def _unpack(value: Any, arrays: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        return arrays[value[TENSOR]]
    if ARRAY in value:
        return arrays[value[ARRAY]].numpy()
    if RECORD in value:
        return record_of(arrays[value[RECORD]].numpy(), np.lib.format.descr_to_dtype(_tuples(value["dtype"])))
    if TUPLE in value:
        return tuple(_unpack(item, arrays) for item in value[TUPLE])
    if ITEMS in value:
        return {key: _unpack(item, arrays) for key, item in value[ITEMS]}
    return {key: _unpack(item, arrays) for key, item in value.items()}
