"""Maps a person's keys to actions of a Gymnasium environment."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from myosu.envs.vector import EnvSpec

#: Names of the actions of environments that do not name them, by the start of the environment's id.
NAMES = {
    "Acrobot": ("torque left", "no torque", "torque right"),
    "CartPole": ("left", "right"),
    "CliffWalking": ("up", "right", "down", "left"),
    "FrozenLake": ("left", "down", "right", "up"),
    "LunarLander": ("nothing", "left engine", "main engine up", "right engine"),
    "MountainCar": ("left", "nothing", "right"),
    "Taxi": ("down", "up", "right", "left", "pick up", "drop off"),
}
#: Words in names of actions → browser keys (``KeyboardEvent.key``).
WORDS = {"up": "ArrowUp", "forward": "ArrowUp", "right": "ArrowRight", "left": "ArrowLeft", "down": "ArrowDown",
         "backward": "ArrowDown", "fire": " ", "toggle": " "}
#: Names of actions that do nothing.
IDLE = {"noop", "nothing", "no torque", "none", "idle"}
#: Keys for all other actions, in order; and (down, up) keys for the components of a continuous action.
OTHERS = "1234567890qwertyuiop"
AXES = (("ArrowLeft", "ArrowRight"), ("ArrowDown", "ArrowUp"), ("a", "d"), ("s", "w"))
#: Arrow keys in ``get_keys_to_action``: codes of pygame 2 and of pygame 1.
_PYGAME = {1073741903: "ArrowRight", 1073741904: "ArrowLeft", 1073741905: "ArrowDown", 1073741906: "ArrowUp",
           275: "ArrowRight", 276: "ArrowLeft", 274: "ArrowDown", 273: "ArrowUp"}


@dataclass(frozen=True)
class Control:
    """keys: pressed together. action: a number, or one number per component."""

    keys: tuple[str, ...]
    name: str
    action: Any


@dataclass(frozen=True)
class Controls:
    """controls: empty if the environment cannot be played by keys. idle: the action while no key is held."""

    controls: tuple[Control, ...]
    idle: Any


def find_controls(env: Any, spec: EnvSpec) -> Controls:
    """The controls of a Gymnasium environment.

    Its own ``get_keys_to_action()`` takes precedence, then keys for the names of its actions
    (``get_action_meanings()``, an enum ``actions``, or ``NAMES``), then digits and letters.
    """
    unwrapped = env.unwrapped
    if spec.action_low:
        return _continuous(spec)
    if spec.action_branches or spec.num_actions > len(OTHERS):
        return Controls((), 0)
    names = _names(unwrapped, spec.num_actions)
    own = _own_keys(unwrapped, names)
    idle = next((action for action, name in enumerate(names) if name.lower() in IDLE), 0)
    return Controls(own or _by_name(names), idle)


def _continuous(spec: EnvSpec) -> Controls:
    count = len(spec.action_low)
    middle = [float(np.clip(0.0, low, high)) for low, high in zip(spec.action_low, spec.action_high, strict=True)]
    if count > len(AXES) or not np.isfinite([*spec.action_low, *spec.action_high]).all():
        return Controls((), middle)
    controls = []
    for component, keys in enumerate(AXES[:count]):
        for key, end, sign in zip(keys, (spec.action_low, spec.action_high), "−+", strict=True):
            action = [*middle]
            action[component] = float(end[component])
            name = f"action {component + 1} {sign}" if count > 1 else f"action {sign}"
            controls.append(Control((key,), name, action))
    return Controls(tuple(controls), middle)


def _names(env: Any, count: int) -> list[str]:
    names: list[str] = []
    if callable(meanings := getattr(env, "get_action_meanings", None)):
        names = [str(name).lower() for name in meanings()]
    elif isinstance(actions := getattr(env, "actions", None), type) and issubclass(actions, enum.Enum):
        names = [action.name.lower() for action in actions]
    elif spec_id := getattr(getattr(env, "spec", None), "id", ""):
        bare = re.sub(r"^.*/|[\dx]*-v\d+$", "", spec_id)  # FrozenLake8x8-v1 is a FrozenLake
        names = list(NAMES.get(bare, ()))
    return names if len(names) == count else [f"action {action}" for action in range(count)]


def _own_keys(env: Any, names: list[str]) -> tuple[Control, ...]:
    if not callable(keys_to_action := getattr(env, "get_keys_to_action", None)):
        return ()
    controls = []
    for keys, action in keys_to_action().items():
        pressed = tuple(_PYGAME.get(key, chr(key) if isinstance(key, int) and key < 128 else str(key))
                        for key in (keys if isinstance(keys, tuple) else (keys,)))
        number = int(action)
        if pressed and 0 <= number < len(names):
            controls.append(Control(pressed, names[number], number))
    return tuple(controls)


def _by_name(names: list[str]) -> tuple[Control, ...]:
    taken: set[tuple[str, ...]] = set()
    controls = []
    for action, name in enumerate(names):
        if name.lower() in IDLE:
            continue
        keys = tuple(dict.fromkeys(key for word, key in WORDS.items() if word in name.lower()))
        if not keys or keys in taken or name.startswith("pick"):
            keys = (next(key for key in OTHERS if (key,) not in taken),)
        taken.add(keys)
        controls.append(Control(keys, name, action))
    return tuple(controls)
