"""Exports a trained network as ONNX or torch.export files, which do not depend on Myosu.

The exported functions take and return plain tensors of any batch size. Each file is run on observations of the
environment before it is written, and its outputs are compared with the agent's.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from myosu import __version__
from myosu.algorithms import cloning, dqn, muesli, muzero, ppo, sac, value
from myosu.algorithms.interface import Agent
from myosu.envs.registry import Environment
from myosu.envs.vector import EnvSpec, observation_parts
from myosu.errors import UserError
from myosu.games.playout import random_actions
from myosu.nets.encoder import to_tensors
from myosu.nets.memory import Memory
from myosu.nets.muzero import MuZeroNet
from myosu.players.agent import load_agent

Format = Literal["onnx", "torch"]
OPSET = 18
#: Maximum difference from the agent's own outputs, relative to outputs greater than 1.
TOLERANCE = 1e-4
#: Number of observations for the comparison.
BATCH = 16


@dataclass(frozen=True)
class Part:
    """One exported file. inputs: example inputs by name. expected: the agent's outputs for them, by name."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    expected: dict[str, np.ndarray]


def export(run: Path, folder: Path, form: Format) -> list[Path]:
    """Export the network of the agent of ``run`` (see ``find_checkpoint``) to ``folder``.

    Returns the written files, including ``export.json``, which describes inputs and outputs. If it raises UserError,
    nothing is written."""
    if form == "onnx":
        _need_onnx()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder.")
    agent, environment, config = load_agent(run)
    suffix = {"onnx": "onnx", "torch": "pt2"}[form]
    written: dict[str, bytes] = {}
    described = []
    for part in parts_of(agent, environment):
        content = _to_onnx(part) if form == "onnx" else _to_torch(part)
        found = (_run_onnx if form == "onnx" else _run_torch)(content, part.inputs)
        difference = _difference(found, part.expected)
        if not difference <= TOLERANCE:
            raise UserError(f"{part.name}.{suffix} differs from the agent by {difference:.2g}, above {TOLERANCE:g}: it "
                            "was not written.")
        written[f"{part.name}.{suffix}"] = content
        described.append({
            "file": f"{part.name}.{suffix}", "greatest_difference": difference,
            "inputs": {name: _describe(x.numpy()) for name, x in part.inputs.items()},
            "outputs": {name: _describe(x) for name, x in part.expected.items()}})
    about = {"myosu": __version__, "algorithm": Path(config.algorithm).stem, "environment": environment.name,
             "opset": OPSET if form == "onnx" else None, "files": described}
    written["export.json"] = (json.dumps(about, indent=1) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in written.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in written]


def parts_of(agent: Agent, environment: Environment) -> list[Part]:
    """The parts of an agent that are exported. Raises UserError if the agent's network is not supported."""
    observation = observations(environment)
    parts = observation_parts(observation)
    inputs = {name or "observation": torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}
    match agent:
        case muzero.Agent(planner=planner):
            return _model_parts(planner.net, planner.support.points(), inputs)
        case muesli.Agent(player=player, support=support):
            return _model_parts(player.net.cpu(), support.points(), inputs)
        case ppo.Agent(net=net):
            return [_policy_part(agent, net, observation, inputs)]
        case dqn.Agent(player=player):
            q = player.values(observation)
            return [Part("values", OutputOf(player.net.cpu(), list(parts)), inputs, {"q": q})]
        case sac.Agent(player=player):
            return [_soft_part(player, observation, inputs)]
        case cloning.Agent(policy=net):
            return [_output_part("policy", net, observation, inputs)]
        case value.Agent(value=net):
            return [_output_part("value", net, observation, inputs)]
    raise UserError("Only networks of Myosu's own algorithms can be exported, not that of "
                    f"{Path(inspect.getfile(type(agent))).name}.")


def observations(environment: Environment) -> np.ndarray:
    """Observations [BATCH, *shape] after random actions; observation k is from k + 1 steps after the reset."""
    env = environment.make(BATCH, 0)
    spec, rng, ids = env.spec, np.random.default_rng(0), np.arange(BATCH)
    env.reset()
    step = env.recv(BATCH)
    found = step.observation.copy()
    for k in range(BATCH):
        env.send(_any_action(spec, step.legal_actions, rng), ids)
        step = env.recv(BATCH)
        found[k:] = step.observation[k:]
    env.close()
    return found


def _any_action(spec: EnvSpec, legal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if spec.action_shape == ():
        return random_actions(legal, int(rng.integers(2**31)))
    return np.zeros((len(legal), *spec.action_shape), np.float32 if spec.action_low else np.int64)


class Initial(nn.Module):
    """observation → latent, value, policy_logits."""

    points: Tensor

    def __init__(self, net: MuZeroNet, points: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("points", points)

    def forward(self, observation: Tensor) -> tuple[Tensor, ...]:
        return self.heads(scale_to_unit(self.net.representation(observation)))

    def heads(self, latent: Tensor) -> tuple[Tensor, ...]:
        return latent, self.mean(self.net.value(latent)), self.net.policy(latent)

    def mean(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits, dim=1) @ self.points


class Recurrent(Initial):
    """latent, action → latent, value, policy_logits, and reward if the network predicts rewards."""

    def forward(self, latent: Tensor, action: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        assert self.net.dynamics is not None
        latent = scale_to_unit(self.net.dynamics(latent, action, self.net.action_codes()))
        reward = () if self.net.reward is None else (self.mean(self.net.reward(latent)),)
        return *self.heads(latent), *reward


def scale_to_unit(latent: Tensor) -> Tensor:
    """``nets.layers.scale_to_unit`` in operations that every runtime supports."""
    flat = latent.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low + 1e-5)).view_as(latent)


class PolicyOf(nn.Module):
    """Parts of the observation, and the recurrent state if there is one → policy, value, next recurrent state."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, net: ppo.ActorCritic, names: list[str]) -> None:
        super().__init__()
        self.net, self.names = net, names
        mean, deviation = (torch.from_numpy(x.reshape(-1)).float() for x in net.value._moments())
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        observation = dict(zip(self.names, given, strict=False))
        memory = given[-1][:, None] if self.net.cell is not None else None
        policy, value, after = self.net(observation, memory)
        value = (value * self.deviation + self.mean).sum(1)
        return (policy, value) if after is None else (policy, value, after)


class OutputOf(nn.Module):
    """Parts of the observation, and the recurrent state if there is one → output of ``net``, next recurrent state."""

    def __init__(self, net: nn.Module, names: list[str], memory: Memory | None = None) -> None:
        super().__init__()
        self.net, self.names, self.memory = net, names, memory

    def forward(self, *given: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        observation = dict(zip(self.names, given, strict=False))
        if self.memory is None:
            return self.net(observation)
        x, _ = self.memory.encoder(observation)
        encoded, after = self.memory.remember(x[:, None], given[-1])
        return self.net(encoded), after


@torch.inference_mode()
def _model_parts(net: MuZeroNet, points: Tensor, inputs: dict[str, Tensor]) -> list[Part]:
    """Parts of a MuZero model. The expected outputs come from the network itself, not from the exported modules."""
    inference = net.for_inference(torch.float32)
    latent, value, policy = inference.initial(inputs["observation"])

    def mean(logits: Tensor) -> np.ndarray:
        return (torch.softmax(logits.double(), 1) @ points.double()).float().numpy()

    first = {"latent": latent.numpy(), "value": mean(value), "policy_logits": policy.numpy()}
    initial = Part("initial", Initial(inference, points.clone()), inputs, first)
    if inference.dynamics is None:
        return [initial]
    action = torch.arange(BATCH) % net.num_actions
    after = inference.recurrent(latent, action)
    second = {"latent": after.latent.numpy(), "value": mean(after.value_logits),
              "policy_logits": after.policy_logits.numpy()}
    if after.reward_logits is not None:
        second["reward"] = mean(after.reward_logits)
    inputs = {"latent": latent.clone(), "action": action.clone()}
    outputs = {f"next_{name}" if name == "latent" else name: x for name, x in second.items()}
    return [initial, Part("recurrent", Recurrent(inference, points.clone()), inputs, outputs)]


def _policy_part(agent: ppo.Agent, net: ppo.ActorCritic, observation: np.ndarray, inputs: dict[str, Tensor]) -> Part:
    memory = np.random.default_rng(0).normal(size=(BATCH, agent.size)).astype(np.float32)
    policy, value, after = net.evaluate(observation, memory)
    module = PolicyOf(net.cpu().eval(), list(observation_parts(observation)))
    expected = {"policy": policy, "value": value.sum(1)}
    if net.cell is None:
        return Part("policy", module, inputs, expected)
    return Part("policy", module, {**inputs, "memory": torch.from_numpy(memory)}, {**expected, "next_memory": after})


@torch.inference_mode()
def _soft_part(player: sac.ActingNetwork, observation: np.ndarray, inputs: dict[str, Tensor]) -> Part:
    memory = np.random.default_rng(0).normal(size=(BATCH, player.state_size)).astype(np.float32)
    encoded, after = player.encode(observation, memory)
    expected = {"policy": player.net(encoded).cpu().numpy()}
    net = nn.Sequential(player.encoder.cpu(), player.net.cpu())
    module = OutputOf(net, list(observation_parts(observation)), player.memory and player.memory.cpu())
    if player.memory is None:
        return Part("policy", module, inputs, expected)
    return Part("policy", module, {**inputs, "memory": torch.from_numpy(memory)}, {**expected, "next_memory": after})


@torch.inference_mode()
def _output_part(name: str, net: nn.Module, observation: np.ndarray, inputs: dict[str, Tensor]) -> Part:
    output = net(to_tensors(observation, next(net.parameters()).device)).cpu().numpy()
    names = list(observation_parts(observation))
    return Part(name, OutputOf(net.cpu(), names), inputs, {name: output})


# Files.


def _need_onnx() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX needs more packages ({error}): pip install \"myosu[onnx]\". Or use --format torch."
                        ) from None


def _program(part: Part) -> Any:
    """The module as a torch.export program with a dynamic batch size."""
    shapes: Any = tuple({0: torch.export.Dim.DYNAMIC} for _ in part.inputs)
    if isinstance(part.module, PolicyOf | OutputOf):
        shapes = (shapes,)  # for the argument *given
    with torch.no_grad():
        return torch.export.export(part.module, tuple(x.clone() for x in part.inputs.values()), dynamic_shapes=shapes)


def _to_torch(part: Part) -> bytes:
    file = io.BytesIO()
    with _silence():
        torch.export.save(_program(part), file)
    return file.getvalue()


def _to_onnx(part: Part) -> bytes:
    with _silence():
        program = torch.onnx.export(_program(part), (), input_names=list(part.inputs), output_names=list(part.expected),
                                    opset_version=OPSET, dynamo=True, verbose=False, optimize=True)
        assert program is not None
        return program.model_proto.SerializeToString()


def _run_torch(content: bytes, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    with _silence(), torch.no_grad():
        found = torch.export.load(io.BytesIO(content)).module()(*inputs.values())
    return [x.numpy() for x in (found if isinstance(found, tuple | list) else (found,))]


def _run_onnx(content: bytes, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: x.numpy() for name, x in inputs.items()})


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the messages of torch's exporters, which are of no use to the user."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _difference(found: list[np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Maximum difference; for outputs with a maximum above 1, relative to that maximum."""
    return max(float((np.abs(a - b) / np.maximum(1.0, np.abs(b).max())).max())
               for a, b in zip(found, expected.values(), strict=True))


def _describe(x: np.ndarray) -> dict[str, Any]:
    return {"shape": ["batch", *x.shape[1:]], "dtype": x.dtype.name}
