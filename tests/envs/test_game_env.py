"""Native games and probes as Gymnasium environments."""

import importlib.util
import re
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import myosu.envs  # noqa: F401  registers
from myosu.envs.game_env import GameEnv
from myosu.envs.native import NativeVectorEnv
from myosu.envs.single_game import SingleGame, Window
from myosu.errors import UserError
from myosu.games import load_game, snake, tictactoe, woodoku
from myosu.games.playout import mix64

GAMES = {"Snake": "snake", "SnakePublished": "snake-published", "Woodoku": "woodoku",
         "WoodokuPublished": "woodoku-published"}
PROBES = [f"Probe{name}" for name in ("Constant", "Observation", "Discount", "Action", "Both")]
PAGE = Path(__file__).parents[2] / "docs" / "environments.md"
PYGAME = importlib.util.find_spec("pygame") is not None
EACH = pytest.mark.parametrize("name", GAMES)


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def play(env, seed, steps):
    """All results of ``steps`` random legal moves."""
    random, seen = np.random.default_rng(seed), [env.reset(seed=seed)]
    for _ in range(steps):
        seen.append(env.step(random.choice(np.flatnonzero(env.action_masks()))))
        if seen[-1][2] or seen[-1][3]:
            seen.append(env.reset())
    return seen


def test_id_with_the_package_needs_no_import():
    code = ("import gymnasium\n"
            "try: gymnasium.make('myosu/Snake-v0')\n"
            "except gymnasium.error.NamespaceNotFound: pass\n"
            "else: sys.exit('Gymnasium has plugins again: docs/environments.md says it has not')\n"
            "assert gymnasium.make('myosu.envs:myosu/Snake-v0').spec.id == 'myosu/Snake-v0'")
    subprocess.run([sys.executable, "-c", f"import sys\n{code}"], check=True)


def test_environments_are_registered_without_loading_games():
    code = ("import gymnasium, sys; gymnasium.make('myosu.envs:myosu/ProbeBoth-v0'); "
            "assert 'myosu/Snake-v0' in gymnasium.registry and 'numba' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", [*GAMES, *PROBES])
def test_gymnasium_check_env_passes(name):
    env = gymnasium.make(f"myosu/{name}-v0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=not PYGAME)


@EACH
def test_game_env_plays_the_same_as_the_vector_environment(name):
    game = replace(load_game(GAMES[name]), max_plies=15)
    vector, env, random = NativeVectorEnv(game, 1, seed=5), GameEnv(game), np.random.default_rng(0)
    seeds = (mix64(mix64(mix64(np.uint64(5)) + np.uint64(0)) + np.uint64(episode)) for episode in range(1000))
    env.np_random = SimpleNamespace(integers=lambda *args, **kwargs: np.uint64(next(seeds)))
    vector.reset()
    there, (observation, info), ends = vector.recv(), env.reset(), [0, 0]
    for _ in range(1000):
        assert np.array_equal(observation, there.observation[0]) and observation in env.observation_space
        assert info["action_mask"].dtype == np.int8 and np.array_equal(info["action_mask"], there.legal_actions[0])
        assert np.array_equal(env.action_masks(), there.legal_actions[0])
        action = int(random.choice(np.flatnonzero(info["action_mask"])))
        vector.send(np.array([action]), np.array([0]))
        there = vector.recv()
        observation, reward, terminated, truncated, info = env.step(action)
        assert (reward, terminated, truncated) == (there.reward[0], there.terminated[0], there.truncated[0])
        if terminated or truncated:
            assert np.array_equal(observation, there.final_observation[0])
            observation, info = env.reset()
            ends[truncated] += 1
    assert min(ends) > 0, "episodes were both terminated and truncated"


@EACH
def test_returned_arrays_are_not_overwritten(name):
    env, random, given, copies = GameEnv(GAMES[name]), np.random.default_rng(3), [], []
    observation, info = env.reset(seed=3)
    for _ in range(60):
        given += [observation, info["action_mask"], env.action_masks()]
        copies += [array.copy() for array in given[-3:]]
        observation, _, terminated, _, info = env.step(random.choice(np.flatnonzero(given[-1])))
        if terminated:
            observation, info = env.reset()
    assert all(np.array_equal(array, copy) for array, copy in zip(given, copies, strict=True))


@EACH
def test_seed_determines_the_game(name):
    one, two, other = (play(GameEnv(GAMES[name]), seed, 100) for seed in (1, 1, 2))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(one, two, strict=True))
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(one, other, strict=False))
    env = GameEnv(GAMES[name])
    starts = [env.reset(seed=seed)[0].tobytes() for seed in (1, None, None)]
    assert len(set(starts)) > 1, "a new game each time"


@pytest.mark.parametrize("what", ["step", "action_masks", "render"])
def test_use_before_reset_is_refused(what):
    """The compiled rules would read and write out of bounds without a state."""
    env = GameEnv("snake-published", render_mode="ansi")
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"snake.*: call reset\(\) before"):
        getattr(env, what)(*[0] * (what == "step"))
    env.reset(seed=0)
    assert isinstance(env.render(), str) and env.action_masks().any()


def test_outcome_rewards():
    env = GameEnv(woodoku.GAME.with_outcome_rewards())
    env.reset(seed=0)
    assert env.step(int(np.flatnonzero(env.action_masks())[0]))[1] == 1.0


@pytest.mark.parametrize("action", [4, -1, 0.5, None])
def test_actions_outside_the_space_are_refused(action):
    env = GameEnv("snake")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="below 4"):
        env.step(action)


@EACH
def test_rendering_as_text_and_image(name):
    text, drawn = (gymnasium.make(f"myosu/{name}-v0", render_mode=mode) for mode in ("ansi", "rgb_array"))
    for env in (text, drawn):
        env.reset(seed=2)
    for _ in range(5):
        game, state = text.unwrapped._play.game, text.unwrapped._play.state
        assert text.render() == game.render(state)
        image = drawn.render()
        assert image.dtype == np.uint8 and np.array_equal(image, game.draw(state))
        image[:] = 0  # the caller's own
        action = int(np.flatnonzero(text.unwrapped.action_masks())[0])
        if text.step(action)[2] | drawn.step(action)[2]:
            break


@pytest.mark.skipif(not PYGAME, reason="pygame is not installed")
def test_human_render_mode_opens_a_window():
    import pygame

    env = gymnasium.make("myosu/Snake-v0", render_mode="human")
    env.reset(seed=0)
    start = time.perf_counter()
    for action in (2, 1):  # up, right
        env.step(action)
        shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
        assert np.array_equal(shown, snake.draw(env.unwrapped._play.state))
    assert time.perf_counter() - start > 1.5 / env.metadata["render_fps"]
    env.close()
    assert pygame.display.get_surface() is None


def test_window_without_pygame_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match=r"pip install \"myosu\[human\]\""):
        Window("title", 8)


@pytest.mark.parametrize(("game", "mode", "match"), [
    (tictactoe.GAME, None, "is a 2-player game"), ("snak", None, "Did you mean 'snake'"),
    ("snake", "rgb", "take one of ansi, human, rgb_array"),
    (replace(snake.GAME, draw=None), "rgb_array", "no draw function"),
])
def test_invalid_games_and_render_modes_are_refused(game, mode, match):
    with pytest.raises(UserError, match=match):
        SingleGame(game, 1, mode)


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL),
                         ids=lambda block: block.splitlines()[0])
def test_code_blocks_of_the_documentation_run(block):
    if "pettingzoo" in block:
        pytest.importorskip("pettingzoo")
    exec(block, {})
