"""Unity's own compiled ML-Agents (package 4.0.0) under Mono: its client, its side channels and its demonstration
writer. Skipped unless scripts/setup_unity_assemblies.sh has fetched it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unity_relay
from myosu.envs.making import EnvMaker
from myosu.envs.registry import load_environment
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.runs.demo import DemoFile, read_demo, write_demo

FOLDER = Path(__file__).parents[2] / ".unity"
ASSEMBLIES = FOLDER / "assemblies"
pytestmark = pytest.mark.skipif(not (FOLDER / "unity_client.exe").is_file() or shutil.which("mono") is None,
                                reason="needs Unity's assemblies: bash scripts/setup_unity_assemblies.sh")


def test_unity_client_plays_an_episode(tmp_path):
    """Handshake, reset, masks, actions, both kinds of ends, settings, parameters and statistics with Unity's code."""
    build = tmp_path / "corridor.x86_64"
    build.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{unity_relay.__file__}' '{FOLDER / 'unity_client.exe'}' "
                     f"'{ASSEMBLIES}' \"$@\"\n")
    build.chmod(0o755)
    env = EnvMaker(f"unity:{build}", {"time_scale": 7.0, "parameters": {"gravity": 2.5}})()
    observation, info = env.reset()
    assert observation.tolist() == [1, 0, 0, 0, 0] and info["action_mask"].tolist() == [0, 1, 1]
    assert info["statistics"] == {"time_scale": 7.0, "gravity": 2.5}
    answers = [env.step(action) for action in (1, 2, 2, 0, 2, 2, 2)]
    assert [int(answer[0].argmax()) for answer in answers] == [0, 1, 2, 1, 2, 3, 4]
    assert [round(answer[1], 4) for answer in answers] == [-0.1] * 6 + [0.9]
    assert [answer[2:4] for answer in answers] == [(False, False)] * 6 + [(True, False)]
    env.reset()
    assert [env.step(1)[2:4] for _ in range(20)] == [(False, False)] * 19 + [(False, True)]
    env.reset()
    env.step(2)
    assert env.reset()[0].argmax() == 0 and env.notices() == []
    env.close()


def written(tmp_path: Path, kind: str) -> Path:
    """A file written by Unity's code, with an episode of three steps and one of one step."""
    path = tmp_path / f"{kind}.demo"
    subprocess.run(["mono", FOLDER / "unity_writer.exe", ASSEMBLIES, path, kind], check=True, timeout=60,
                   env={"MONO_PATH": str(ASSEMBLIES), "PATH": "/usr/bin:/bin"}, capture_output=True)
    return path


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_demonstrations_from_unitys_writer_are_read(tmp_path, kind):
    path = written(tmp_path, kind)
    discrete = kind == "discrete"
    spec = EnvSpec((3,), np.dtype(np.float32), 5 if discrete else 0, 1, (-np.inf, np.inf), 100,
                   action_branches=(3, 2) if discrete else (), action_low=() if discrete else (-1.0, -1.0),
                   action_high=() if discrete else (1.0, 1.0))
    episodes = [episode.observed for episode in read_demo(path, spec)]
    told = [[(np.round(move.observation, 3).tolist(), move.action.tolist(), float(move.rewards[0]), move.terminated,
              move.truncated) for move in episode] for episode in episodes]
    actions = [[0, 1], [1, 1], [2, 1]] if discrete else [[0, -1], [0.25, -1], [0.5, -1]]
    rewards = [0.5, -0.25, 1.0]
    assert told == [[([step, 0, pytest.approx(0.1 * step)], actions[step], rewards[step], step == 2, False)
                     for step in range(3)], [([0, 1, 0], actions[0], 2.0, False, True)]]
    if discrete:
        assert [move.legal_actions.tolist() for move in episodes[0][:2]] == [[False, True, True, True, True],
                                                                             [True] * 5]
    file = DemoFile.read(path)
    assert file.meta.number_episodes == 3, "Unity's writer counts one more than ended"
    file.write(tmp_path / "again.demo")
    assert (tmp_path / "again.demo").read_bytes() == path.read_bytes()
    # Moves are equal after writing and reading them; numbers of the file that moves do not have are lost.
    assert write_demo(tmp_path / "moves.demo", "walk", spec, episodes) == 2
    for before, after in zip(episodes, read_demo(tmp_path / "moves.demo", spec), strict=True):
        for one, other in zip(before, after.observed, strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))


def test_unity_demo_without_steps_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no episodes"):
        read_demo(written(tmp_path, "empty"), load_environment("CartPole-v1").spec)
