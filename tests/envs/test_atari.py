"""Atari: frames compared with a separate computation, and training by the command."""

import json

import gymnasium
import numpy as np
import pytest

from myosu.algorithms.ppo import Config
from myosu.cli import run
from myosu.commands.options import read_environment_flags
from myosu.envs.atari import AtariFrames
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.presets import load_preset
from myosu.runs.run import open_run

PONG = "ale_py:ALE/Pong-v5"


def area(screen):
    """Resize [210, 160] to [84, 84] exactly, in integers: pixels are repeated until both grids divide the image."""
    parts = np.repeat(np.repeat(screen.astype(np.int64), 2, axis=0), 21, axis=1)  # 420 × 3360
    sums = parts.reshape(84, 5, 84, 40).sum(axis=(1, 3))
    return sums / 200


def same_grey(shown, screen):
    return shown.dtype == np.uint8 and np.abs(shown - area(screen)).max() <= 0.5 + 1e-4


def grey(env):
    return env.unwrapped.ale.getScreenGrayscale()


def test_frames_are_area_means_of_the_maximum_of_two():
    """Compare with a raw game with the same random numbers: no-ops, four frames for each action, sums of rewards,
    sticky actions."""
    env = AtariFrames(gymnasium.make(PONG, frameskip=1, obs_type="ram"))
    raw = gymnasium.make(PONG, frameskip=1)
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (84, 84), np.uint8)
    shown, _ = env.reset(seed=7)
    raw.reset(seed=7)
    for _ in range(raw.unwrapped.np_random.integers(1, 31)):
        raw.step(0)
    assert same_grey(shown, grey(raw))
    rng, total, moved = np.random.default_rng(0), 0.0, 0
    for _ in range(120):
        action = int(rng.integers(env.action_space.n))
        before = shown
        shown, reward, terminated, _, _ = env.step(action)
        screens, earned = [], 0.0
        for _ in range(4):
            _, paid, *_ = raw.step(action)
            screens.append(grey(raw))
            earned += paid
        assert reward == earned and not terminated
        assert same_grey(shown, np.maximum(*screens[2:]))
        total, moved = total + reward, moved + (shown != before).any()
    assert total < 0 and moved > 100  # a random player loses points


def test_atari_frames_refuse_other_environments():
    with pytest.raises(UserError, match=r"CartPoleEnv is not an Atari game .* leave out --atari"):
        AtariFrames(gymnasium.make("CartPole-v1"))
    with pytest.raises(UserError, match=r"skips frames by itself \(frameskip = 4\)"):
        AtariFrames(gymnasium.make(PONG))


def test_one_command_trains_pong(tmp_path, capsys):
    """The id is found; --atari selects frames, stacking, settings and network, which are saved with the run."""
    folder = tmp_path / "run"
    small = ["--num-envs", "2", "--rollout-steps", "16", "--batch-size", "16", "--evaluate-every", "0"]
    assert run(["train", "ALE/Pong-v5", "--atari", "--algorithm", "ppo", "--env-steps", "64", "--run", str(folder),
                "--quiet", *small]) == 0, capsys.readouterr().err
    config = open_run(folder).config
    spec = config.environment.spec
    assert spec.observation_shape == (4, 84, 84) and spec.observation_dtype == np.uint8
    assert spec.frame_stack == 4 and spec.num_actions == 6
    assert config.algorithm_config["clip_range"] == 0.2 and config.algorithm_config["reward_clip"] == 1.0
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["env_steps"] == 64 and metrics[-1]["update"] == 16
    assert run(["train", "--resume", str(folder), "--env-steps", "96", "--quiet"]) == 0


def test_atari_preset_applies_only_with_atari_frames():
    with_frames = load_environment("ALE/Pong-v5", read_environment_flags(atari=True))
    assert load_preset("ppo", with_frames, Config)["entropy_weight"] == 0.01
    assert not load_preset("ppo", load_environment("ALE/Pong-v5", {"frameskip": 4}), Config)
