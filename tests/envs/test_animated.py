"""Bubble with animations: the duration of steps, and equality with Bubble."""

import math

import gymnasium
import numpy as np
import pytest

from myosu.algorithms import ppo
from myosu.envs import animated
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.native import game_spec
from myosu.games import bubble


def test_step_duration_equals_hand_computed_seconds(monkeypatch):
    """A shot straight up flies 24.25 radii. The next one pops three red bubbles, and the blue one below them falls."""
    slept = []
    monkeypatch.setattr(animated.time, "sleep", slept.append)
    env = animated.AnimatedBubble(time_scale=4.0)
    env.reset(seed=0)
    assert slept == [0.5]
    state = env._play.state
    state["board"] = 0
    state["board"][0, 7], state["current"] = 4, 1
    bubble.aim(state)
    assert animated.animation_seconds(state, 3) == pytest.approx((bubble.SHOOTER_Y - 1) / 30)
    state["board"][0] = 4, 0, 0, 0, 1, 1, 0, 4
    state["board"][1, 4] = 4
    bubble.aim(state)
    cell = int(np.flatnonzero(env._play.observation()[bubble.FALLS])[0])
    path, _ = bubble.flight(state, int(bubble.angles_to_cells(state)[cell]))
    flown = np.hypot(*np.diff(path, axis=0).T).sum()
    env.step(np.int64(cell))
    assert slept[1] == pytest.approx((flown / 30 + 3 * 0.05 + 0.5) / 4)
    assert (state["board"] > 0).sum() == 2, "only the blue bubbles at the ceiling are left"
    assert animated.animation_seconds(state, 111) == 0.0, "no shot reaches that cell"
    with pytest.raises(ValueError, match="time_scale"):
        animated.AnimatedBubble(time_scale=0)


def test_animated_bubble_plays_the_same_game():
    fast, slow = gymnasium.make("myosu/Bubble-v0"), gymnasium.make("myosu/AnimatedBubble-v0", time_scale=math.inf)
    random = np.random.default_rng(0)
    seen = [env.reset(seed=3) for env in (fast, slow)]
    for _ in range(20):
        assert np.array_equal(seen[0][0], seen[1][0]) and np.array_equal(*(s[-1]["action_mask"] for s in seen))
        action = random.choice(np.flatnonzero(seen[0][-1]["action_mask"]))
        seen = [env.step(action) for env in (fast, slow)]
        assert seen[0][1:4] == seen[1][1:4]


def test_tall_board_is_read_as_planes_first_in_native_and_gym():
    """The shape alone suggests channels last (14 rows of 15 cells with 8 channels), which is wrong."""
    native, gym = game_spec(bubble.GAME), GymVectorEnv("myosu/Bubble-v0", 1).spec
    assert native.planes_first and gym.planes_first
    nets = [ppo.make_net(ppo.Config(channels=4, hidden=(8,)), spec) for spec in (native, gym)]
    assert all(net.encoder.cells == (4, 14, 8) and net.policy.by_cell for net in nets)
