"""Code for GPUs, which also runs on the CPU: the graphed model, kernels, the search, captured updates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from numba import carray, types
from test_search_golden import FILES, assert_equals_mctx

from myosu.errors import UserError
from myosu.games import load_game
from myosu.games.playout import random_actions
from myosu.kernels import ptx
from myosu.losses.categorical import Support
from myosu.nets.captured_update import CapturedUpdate
from myosu.nets.cuda_graph import GraphedMuZero
from myosu.nets.inference import choose_device
from myosu.nets.muzero import MuZeroNet
from myosu.search import Expansion, GumbelConfig, PUCTConfig
from myosu.search.gpu import SIGNATURES, GPUSearch

#: Tests also run on the GPU if there is one.
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class TableOnGPU:
    """The decision process of a golden file, as ``ExpandOnGPU``."""

    def __init__(self, golden, num_nodes, capacity, discount, device):
        self.discount = torch.full((capacity,), discount, device=device)

        def padded(array):
            return np.concatenate([array, array[:capacity - len(array)]])

        self.tables = {name: torch.from_numpy(golden[name]).to(device)
                       for name in ("next_state", "reward", "value", "logits")}
        self.rows = torch.arange(capacity, device=device)
        self.states = torch.zeros(capacity, num_nodes, dtype=torch.int64, device=device)
        self.states[:, 0] = torch.from_numpy(padded(golden["roots"])).to(device)

    def expand(self, parents, actions, slot):
        state = self.states[self.rows, parents]
        child = self.tables["next_state"][state, actions].long()
        self.states[:, slot] = child
        return Expansion(self.tables["reward"][state, actions].float(), self.discount,
                         self.tables["value"][child].float(), self.tables["logits"][child].float())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_gpu_search_equals_mctx(path, device):
    golden = dict(np.load(path))
    case = json.loads(str(golden["case"]))
    simulations = case["num_simulations"]
    if case["rule"] == "gumbel":
        config = GumbelConfig(simulations, case["max_considered_actions"], c_visit=50.0, c_scale=case["c_scale"])
    else:
        config = PUCTConfig(simulations, dirichlet_fraction=case["dirichlet_fraction"])
    batch, num_actions = golden["legal"].shape
    search = GPUSearch(config, batch + 1, num_actions, seed=0, device=torch.device(device))
    model, roots = TableOnGPU(golden, simulations + 1, batch + 1, case["discount"], device), golden["roots"]
    result = search._run(golden["logits"][roots], golden["value"][roots], golden["legal"], model.expand, simulations,
                         golden["noise"])
    assert_equals_mctx(golden, case, search._nodes[:batch], result)


def test_nan_is_reported():
    search = GPUSearch(GumbelConfig(4), 2, 3, seed=0, device=torch.device("cpu"))

    def expand(parents, actions, slot):
        value = torch.full((2,), float("nan") if slot == 2 else 0.0)
        return Expansion(torch.zeros(2), -torch.ones(2), value, torch.zeros(2, 3))

    with pytest.raises(FloatingPointError, match="below the root"):
        search.run(np.zeros((2, 3), np.float32), np.zeros(2, np.float32), np.ones((2, 3), bool), expand)


@pytest.mark.parametrize("name", SIGNATURES)
def test_kernels_become_ptx(name):
    text = ptx.compile_ptx(*SIGNATURES[name])
    assert ".visible .entry kernel" in text
    assert ".extern" not in text


def test_missing_gpu_is_reported(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"device = cuda: this torch .* finds none here"):
        choose_device("cuda")


@pytest.mark.parametrize("name, what", [("gpu", "there is no such device"), ("cuda:x", "there is no such device"),
                                        ("meta", "there is no such device"), ("cuda:2", "there are only 2 here")])
def test_unknown_device_is_reported(monkeypatch, name, what):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=f"device = {name}: {what}"):
        choose_device(name)


def test_ptx_exponential_equals_numpy():
    x = np.concatenate([np.linspace(-50, 1, 1001), [-1e9]])
    np.testing.assert_allclose([ptx.exp(value) for value in x], np.exp(np.maximum(x, -700)), rtol=2e-15)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("shape", "actions", "rewards"), [
    ((3, 8, 8), 65, False), ((2, 6, 7), 7, True), ((5,), 4, True)])
def test_graphed_model_equals_the_plain_one(shape, actions, rewards, device):
    torch.manual_seed(0)
    net = MuZeroNet(shape, actions, 32, 2, 41, rewards=rewards).eval()
    for parameter in net.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    support, rng, n = Support(-32.0, 32.0, 41), np.random.default_rng(0), 5
    graphed = GraphedMuZero(MuZeroNet(shape, actions, 32, 2, 41, rewards=rewards).eval(), support, n + 1, 4,
                            torch.float32, torch.device(device))
    graphed.load(net)
    observation = rng.integers(0, 2, (n, *shape)).astype(np.uint8 if len(shape) == 3 else np.float32)
    close = {"rtol": 1e-3, "atol": 1e-3 if device == "cuda" else 1e-5}
    nodes = {}
    with torch.inference_mode():
        nodes[0], value_logits, policy_logits = net.initial(torch.from_numpy(observation))
        value, logits = graphed.roots(observation)
        np.testing.assert_allclose(value, support.means(value_logits.numpy()), **close)
        np.testing.assert_allclose(logits, policy_logits.numpy(), **close)
        for slot in range(1, 5):
            parents, chosen = rng.integers(0, slot, n), rng.integers(0, actions, n)
            latent = torch.stack([nodes[parent][k] for k, parent in enumerate(parents)])
            out = net.recurrent(latent, torch.from_numpy(chosen))
            nodes[slot] = out.latent
            reward, value, logits = graphed.expand(parents, chosen, slot)
            np.testing.assert_allclose(value, support.means(out.value_logits.numpy()), **close)
            np.testing.assert_allclose(logits, out.policy_logits.numpy(), **close)
            expected = support.means(out.reward_logits.numpy()) if rewards else np.zeros(n)
            np.testing.assert_allclose(reward, expected, **close)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
@pytest.mark.parametrize(("channels", "blocks"), [(32, 2), (64, 2), (64, 4)])
@pytest.mark.parametrize("rewards", [False, True])
def test_triton_tower_is_as_exact_as_torch_in_bfloat16(channels, blocks, rewards):
    from myosu.nets import triton_tower

    torch.manual_seed(0)
    n, device, support = 37, torch.device("cuda"), Support(-32.0, 32.0, 41)
    net = MuZeroNet((3, 8, 8), 65, channels, blocks, 41, rewards=rewards).eval()
    for parameter in net.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    model = GraphedMuZero(net, support, n, 1, torch.bfloat16, device)
    exact = GraphedMuZero(net, support, n, 1, torch.float32, device)
    assert model.tower is not None and exact.tower is None
    first = torch.rand(n, 64, channels, device=device)
    parents, actions = (torch.randint(0, size, (n,), device=device) for size in (1, 65))

    def answers(of, tile=None):
        """All outputs of a step and the new latent states, which are NaN before the step."""
        of.latents[:n], of.latents[n:] = first, float("nan")
        of.tile = tile
        with torch.inference_mode():
            found = [x for x in of.imagine(parents, actions, 1) if x is not None]
        return [x.float() for x in (*found, of.latents[n:])]

    expected, tower = answers(exact), model.tower
    model.tower = None
    plain = answers(model)
    model.tower = tower
    for tile in triton_tower.TILES:
        for right, theirs, ours in zip(expected, plain, answers(model, tile), strict=True):
            def error(x, right=right):
                return float((x - right).norm() / right.norm())
            assert error(ours) < max(1e-2, 1.5 * error(theirs))


def test_triton_tower_in_the_interpreter():
    """In float32 on the CPU, because the interpreter lacks bfloat16; in a process of its own, because the interpreter
    is selected once per process."""
    pytest.importorskip("triton", reason="Triton is not installed")
    done = subprocess.run([sys.executable, Path(__file__).with_name("tower_interpreted.py")], capture_output=True,
                          text=True, env=os.environ | {"TRITON_INTERPRET": "1"}, check=False)
    assert done.returncode == 0, done.stderr


def rules_kernel(game):
    """Kernel that calls ``step`` and ``legal_actions`` on the i-th of many states."""
    step, legal_actions, num_actions = game.step, game.legal_actions, game.num_actions

    def move(i, states, actions, rewards, ended, masks):
        state = carray(states, (i + 1,))[i]
        reward, end = step(state, carray(actions, (i + 1,))[i])
        carray(rewards, (i + 1,))[i] = reward
        carray(ended, (i + 1,))[i] = end
        legal_actions(state, carray(masks, (i + 1, num_actions))[i])

    kinds = (numba.from_dtype(game.state_dtype), types.int64, types.float32, types.uint8, types.boolean)
    return ptx.Kernel(move, [types.CPointer(kind) for kind in kinds])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["othello", "connect_four", "tictactoe", "snake", "woodoku"])
def test_rules_on_a_gpu_equal_those_on_the_cpu(name, device):
    game, count = load_game(name), 64
    kernel = rules_kernel(game)
    states = game.new_states(count, seed=3)
    masks = np.zeros((count, game.num_actions), bool)
    game.batch.legal_actions(states, masks)
    for ply in range(40):
        actions = random_actions(masks, ply)
        there = [torch.from_numpy(x.copy()).to(device) for x in (
            states.view(np.uint8), actions, np.zeros(count, np.float32), np.zeros(count, np.uint8), masks)]
        kernel.launch(count, *there)
        rewards, ended = np.zeros(count, np.float32), np.zeros(count, bool)
        game.batch.step(states, actions, rewards, ended)
        game.batch.legal_actions(states, masks)
        for expected, found in zip((states.view(np.uint8), rewards, ended, masks), (there[0], *there[2:]), strict=True):
            np.testing.assert_array_equal(found.cpu().numpy(), expected)
        fresh = game.new_states(count, seed=1000 + ply)
        states[ended] = fresh[ended]
        game.batch.legal_actions(states, masks)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "counts"), [
    ("othello", [4, 12, 56, 244, 1396, 8200]), ("connect_four", [7, 49, 343, 2401, 16807, 117649])])
def test_perft_on_a_gpu(name, counts, device):
    game = load_game(name)
    kernel = rules_kernel(game)
    states = game.new_states(1)
    masks = np.zeros((1, game.num_actions), bool)
    game.batch.legal_actions(states, masks)
    for count in counts if device == "cuda" else counts[:4]:
        parents, actions = np.nonzero(masks)
        states = states[parents]
        there = [torch.from_numpy(x).to(device) for x in (
            states.view(np.uint8).copy(), actions.copy(), np.zeros(len(actions), np.float32),
            np.zeros(len(actions), np.uint8), np.zeros((len(actions), game.num_actions), bool))]
        kernel.launch(len(actions), *there)
        states, masks = there[0].cpu().numpy().view(game.state_dtype), there[4].cpu().numpy()
        assert len(states) == count


@pytest.mark.parametrize("device", DEVICES)
def test_captured_updates_equal_plain_ones(device):
    """Three optimiser steps, each with its losses."""

    def make():
        torch.manual_seed(1)
        net = torch.nn.Linear(3, 2).to(device)
        return net, torch.optim.AdamW(net.parameters(), lr=0.1, capturable=device == "cuda")

    def step_of(net, optimizer):
        def step(batch):
            loss = (net(batch["x"]) - batch["y"]).square().mean(1)
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            return {"losses": loss.detach(), "loss": loss.detach().mean()}
        return step

    rng = np.random.default_rng(0)
    batches = [{"x": rng.standard_normal((4, 3), np.float32), "y": rng.standard_normal((4, 2), np.float32)}
               for _ in range(3)]
    net, optimizer = make()
    step = step_of(net, optimizer)
    expected = [step({name: torch.from_numpy(x).to(device) for name, x in batch.items()}) for batch in batches]
    other, other_optimizer = make()
    captured = CapturedUpdate(step_of(other, other_optimizer), other, other_optimizer, torch.device(device))
    for batch, plain in zip(batches, expected, strict=True):
        captured.start(batch)
        for name, found in captured.finish().items():
            np.testing.assert_allclose(found, plain[name].cpu().numpy(), rtol=1e-5)
    for mine, theirs in zip(other.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
