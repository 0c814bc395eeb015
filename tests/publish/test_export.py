"""Exported networks give the same outputs as the agents, in runtimes that do not depend on Myosu."""

from __future__ import annotations

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from test_publish import MUZERO, lively_run

from myosu.algorithms import ALGORITHMS, cloning, reinforce
from myosu.errors import UserError
from myosu.players.agent import load_agent
from myosu.publish import export as exporting
from myosu.publish.export import export, observations
from toy_runs import TOY

pytestmark = pytest.mark.slow

gymnasium.register("Everything-v0", "gym_toys:Everything")

CASES = {
    "board": ("othello", "muzero", MUZERO),
    "board, rewards at the end": ("connect_four", "muzero", {**MUZERO, "predict_rewards": False}),
    "cells as actions": ("woodoku", "muzero", MUZERO),
    "vector": ("CartPole-v1", "muzero", {"channels": 8, "blocks": 1}),
    "muesli": ("tictactoe", "muesli", {"channels": 4, "blocks": 1}),
    "policy": ("CartPole-v1", "ppo", {"normalize_observations": True}),
    "policy over cells": ("woodoku", "ppo", {"channels": 4, "hidden": (8,), "normalize_values": True}),
    "continuous, with a memory": ("Pendulum-v1", "ppo", {"lstm_size": 8}),
    "several parts": ("Everything-v0", "ppo", {"hidden": (8,), "channels": 4}),
    "values": ("CartPole-v1", "dqn", {"hidden": (16,)}),
    "values over a board": ("snake", "dqn", {"channels": 4, "hidden": (8,)}),
    "rules instead of a model": ("tictactoe", "alphazero", {"channels": 4, "blocks": 1, "precision": "float32"}),
    "soft choices": ("Everything-v0", "sac", {"hidden": (8,), "channels": 4}),
    "soft, continuous, with a memory": ("Pendulum-v1", "sac", {"hidden": (8,), "lstm_size": 8}),
    "imitated moves": ("go9", "cloning", {"hidden": (8,), "channels": 4, "blocks": 1, "recordings": ("games",)}),
    "imitated numbers": ("Pendulum-v1", "cloning", {"hidden": (8,), "recordings": ("games",)}),
    "a value": ("tictactoe", "value", {"hidden": (8,), "channels": 4, "blocks": 1, "recordings": ("games",)}),
}


def test_every_algorithm_has_a_case():
    """REINFORCE has the agent class of cloning, so that it needs no case."""
    assert reinforce.Agent is cloning.Agent
    assert {algorithm for _, algorithm, _ in CASES.values()} | {"reinforce"} == set(ALGORITHMS)


@pytest.mark.parametrize("form", ["onnx", "torch"])
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_network_is_exported(tmp_path, case, form):
    if form == "onnx":
        pytest.importorskip("onnxruntime", reason="requirements-dev.lock")
    run = lively_run(tmp_path / "run", *CASES[case])
    files = export(run, tmp_path / "out", form)
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert [path.name for path in files] == [*(part["file"] for part in about["files"]), "export.json"]
    assert all(part["greatest_difference"] <= 1e-4 for part in about["files"])
    first, path = about["files"][0], files[0]
    # The batch size is dynamic, and the outputs differ between observations.
    agent, environment, _ = load_agent(run)
    part = exporting.parts_of(agent, environment)[0]
    found = []
    for size in (1, 5):
        inputs = {name: x[-size:] for name, x in part.inputs.items()}
        run_file = exporting._run_onnx if form == "onnx" else exporting._run_torch
        found.append(run_file(path.read_bytes(), inputs)[-1])
    assert len(found[0]) == 1 and len(found[1]) == 5
    np.testing.assert_allclose(found[1][-1:], found[0], atol=1e-4)
    assert np.ptp(found[1], axis=0).max() > 1e-3
    assert set(first["inputs"]) == set(part.inputs)


def test_check_observations_are_diverse(tmp_path):
    _, environment, _ = load_agent(lively_run(tmp_path / "run", *CASES["board"]))
    found = observations(environment)
    assert len(np.unique(found.reshape(len(found), -1), axis=0)) > 10


def test_a_differing_export_is_not_written(tmp_path, monkeypatch):
    """A file whose outputs differ from the agent's, as with an error in an exporter."""
    run = lively_run(tmp_path / "run", *CASES["board"])
    monkeypatch.setattr(exporting, "scale_to_unit", lambda latent: latent)
    with pytest.raises(UserError, match="differs from the agent"):
        export(run, tmp_path / "out", "torch")
    assert not (tmp_path / "out").exists()


def test_impossible_exports_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"that of toy_algorithm\.py"):
        export(lively_run(tmp_path / "toy", "tictactoe", TOY, {}), tmp_path / "out", "torch")
    with pytest.raises(UserError, match="There is no run"):
        export(tmp_path / "nothing", tmp_path / "out", "torch")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        export(lively_run(tmp_path / "run", *CASES["values"]), tmp_path / "file", "torch")


def test_the_documented_example_works(tmp_path):
    """With only onnxruntime and NumPy, the example chooses the agent's actions."""
    pytest.importorskip("onnxruntime", reason="requirements-dev.lock")
    run = lively_run(tmp_path / "run", *CASES["values"])
    export(run, tmp_path / "dqn", "onnx")
    page = (exporting.Path(__file__).parents[2] / "docs" / "export.md").read_text()
    example = page.split("```python\n")[1].split("```")[0]
    agent, environment, _ = load_agent(run)
    observation = observations(environment)
    np.save(tmp_path / "observation.npy", observation)
    code = f"import numpy as np\nobservation = np.load('observation.npy')\n{example}\nprint(action.tolist())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected, _ = agent.act(observation, np.ones((len(observation), environment.spec.num_actions), np.bool_))
    assert json.loads(done.stdout) == expected.tolist() and len(set(expected.tolist())) == 2
    assert "myosu" not in example and torch.__name__ not in example
