"""Godot games, with the protocol of the Godot RL plugin (Beeching et al. 2021).

Myosu listens on TCP and the game connects. A message is its length in 4 bytes (little-endian), followed by JSON. Myosu
sends ``handshake`` (no answer) and ``env_info`` (answered with the spaces), then ``reset`` and ``action``, answered
with the observations of all agents in the scene and, for ``action``, their rewards and ends; ``close`` ends the game.

Three extensions of the plugin's protocol are optional for the game: ``reset`` carries a ``seed``; an answer may have
``truncated``; and a game that says ``separate_resets`` in ``env_info`` resets single agents: ``reset`` then has
``seeds``, one for each agent, and null for those whose episodes go on. In other games with several agents, as the
plugin's, an agent whose episode has ended begins the next one by itself, before its next action.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from myosu.envs.engines.engine_env import Engine, EngineEnv, Event, joint_space
from myosu.envs.engines.process import EngineLost, EngineProcess, require_program
from myosu.errors import UserError

#: The plugin's default port, which a game started by the editor connects to.
EDITOR_PORT = 11008
VERSION = {"major_version": "0", "minor_version": "7"}
#: Programs that run a project, by the ``config_version`` of its ``project.godot``.
PROGRAMS = {4: ("godot3-server", "godot3-headless", "godot3"), 5: ("godot4", "godot")}
#: Maximum length of a message in bytes; a longer one is not of this protocol.
MAX_MESSAGE = 1 << 26


class GodotEnv(EngineEnv):
    """The first agent of a Godot scene as a Gymnasium environment; the others copy its actions.

    project: a folder with ``project.godot``, an exported game (a file), or "" to wait until the game is started in the
        editor. A folder is run with the program in the environment variable MYOSU_GODOT, or otherwise with the first
        installed program for its version (PROGRAMS).
    speedup, action_repeat: speed as a multiple of real time, and physics ticks for each action. Both are passed to the
        game as arguments; None: the game's default.
    show: open a window.
    policy: the agents to train if they have several policies (``policy_name`` in the plugin).
    arguments: more command-line arguments for the game.
    connect_timeout, answer_timeout: timeouts in seconds for the game's connection and for each answer.

    Several continuous actions of the scene are concatenated to one Box, sorted by name; several discrete actions are a
    MultiDiscrete; both kinds together are a Tuple of the two. Raises UserError.
    """

    def __init__(self, project: str, speedup: int | None = None,
                 action_repeat: int | None = None, show: bool = False, policy: str | None = None,
                 arguments: Sequence[str] = (), connect_timeout: float = 50.0,
                 answer_timeout: float = 20.0) -> None:
        command = [] if not project else _command(Path(project), show)
        if command:
            given = {"speedup": speedup, "action_repeat": action_repeat}
            command += [f"--{name}={value}" for name, value in given.items() if value is not None] + [*arguments]
        connect = partial(GodotLink, command, policy, connect_timeout, answer_timeout)
        super().__init__(Engine(f"godot:{project}", connect, keep=not project))


def _command(project: Path, show: bool) -> list[str]:
    """The command that starts the game, without its port."""
    if not project.is_dir():
        require_program(str(project), "The Godot project")
        return [str(project), *([] if show else ["--headless"])]
    settings = project / "project.godot"
    if not settings.is_file():
        raise UserError(f"{project} is not a Godot project: it has no project.godot.")
    found = re.search(r"^config_version\s*=\s*(\d+)", settings.read_text(errors="replace"), re.MULTILINE)
    version = int(found[1]) if found else 0
    if version not in PROGRAMS:
        raise UserError(f"{settings}: config_version must be 4 (Godot 3) or 5 (Godot 4).")
    # Not an argument: arguments are kept in the run's folder, and a folder must not name a program that is started.
    program = os.environ.get("MYOSU_GODOT") or next(filter(shutil.which, PROGRAMS[version]), None)
    if program is None or shutil.which(program) is None:
        raise UserError(f"{project} needs Godot {version - 1}: {program or ', '.join(PROGRAMS[version])} is not on "
                        "PATH. Debian and Ubuntu have godot3-server; to use another program, set the environment "
                        "variable MYOSU_GODOT.")
    headless = ["--headless"] if version == 5 else ["--no-window"] if "server" not in program else []
    # Fixed frames per second, so that the game does not wait for real time.
    return [program, "--path", str(project), "--fixed-fps", "60", *([] if show else headless)]


class GodotLink:
    """A running game and the TCP connection to it (``engine_env.Link``)."""

    def __init__(self, command: list[str], policy: str | None, connect_timeout: float, answer_timeout: float) -> None:
        self._timeout = answer_timeout
        self._process: EngineProcess | None = None
        self._socket: socket.socket | None = None
        try:
            with _listen(0 if command else EDITOR_PORT) as server:
                port = server.getsockname()[1]
                if command:
                    self._process = EngineProcess([*command, f"--port={port}"])
                self._socket = self._accept(server, connect_timeout)
            self._send({"type": "handshake", **VERSION})
            self._send({"type": "env_info"})
            info = self._receive("env_info")
            self._count = _number_of_agents(info)
            #: The agents of the trained policy, in the order of the game's lists.
            self._places = _agents_of(info, self._count, policy)
            self.agents = len(self._places)
            self._separate = info.get("separate_resets") is True
            observed, acted = (_descriptions(info.get(name), self._count) for name in ("observation_space",
                                                                                       "action_space"))
            _require_equal([(observed[place], acted[place]) for place in self._places])
            self._kinds = _read_spaces(observed[self._places[0]])
            self._actions = [_read_actions(described) for described in acted]
            self.observation_space: spaces.Space = _observation_space(self._kinds)
            continuous, discrete = self._actions[self._places[0]]
            self.action_space = joint_space(sum(continuous.values()), list(discrete.values()))
            #: Which of the played agents wait for their next episode.
            self._over: list[bool] = []
        except BaseException:
            self.close()
            raise

    def reset(self, seeds: Sequence[int | None]) -> list[Event]:
        self._over = [False] * len(seeds)
        everyone = dict.fromkeys(range(self._count), seeds[0]) | dict(zip(self._places, seeds, strict=False))
        return self._reset(everyone, range(len(seeds)))

    def restart(self, seeds: Mapping[int, int]) -> list[Event]:
        if not self._separate:
            return []
        for agent in seeds:
            self._over[agent] = False
        return self._reset({self._places[agent]: seed for agent, seed in seeds.items()}, list(seeds))

    def act(self, actions: Mapping[int, Any]) -> None:
        sent = [_write_action(_nothing(*kinds), *kinds) for kinds in self._actions]
        first = next(iter(actions.values())) if len(self._over) == 1 else None  # unplayed agents copy the only one
        for agent, place in enumerate(self._places):
            action = actions.get(agent, first)
            if action is not None:
                sent[place] = _write_action(action, *self._actions[place])
        self._send({"type": "action", "action": sent})

    def answers(self) -> list[Event]:
        answer = self._receive("step")
        events: list[Event] = []
        for agent, (over, place) in enumerate(zip(self._over, self._places, strict=False)):
            try:
                reward, done = float(answer["reward"][place]), bool(answer["done"][place])
                truncated = bool(answer["truncated"][place]) if "truncated" in answer else False
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise EngineLost(f"the game answered an action with {_short(answer)}") from error
            observation = self._observation(answer, place)
            if not over:
                events.append((agent, (observation, reward, done and not truncated, truncated, {})))
            elif not (done or truncated):
                events.append((agent, (observation, {})))
            self._over[agent] = done or truncated
        return events

    def close(self) -> None:
        if self._socket is not None:
            with suppress(EngineLost):
                self._send({"type": "close"})
            self._socket.close()
        if self._process is not None:
            self._process.close(patience=0.5)

    # --- messages

    def _reset(self, seeds: Mapping[int, int | None], agents: Sequence[int]) -> list[Event]:
        """Reset with ``seeds``, by the agent's place in the game's lists. Returns the beginnings of ``agents``."""
        message: dict[str, Any] = {"type": "reset"}
        if (seed := seeds[self._places[agents[0]]]) is not None:
            message["seed"] = seed
            if self._separate and self._count > 1:
                message["seeds"] = [seeds.get(place) for place in range(self._count)]
        self._send(message)
        answer = self._receive("reset")
        return [(agent, (self._observation(answer, self._places[agent]), {})) for agent in agents]

    def _observation(self, answer: dict[str, Any], place: int) -> Any:
        try:
            given = answer["obs"][place]
            parts = {name: _array(given[name], space) for name, space in self._kinds.items()}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineLost(f"the game sent the observation {_short(answer.get('obs'))}, which does not fit its own "
                             f"description {self._kinds}") from error
        return parts if isinstance(self.observation_space, spaces.Dict) else next(iter(parts.values()))

    # --- the connection

    def _accept(self, server: socket.socket, seconds: float) -> socket.socket:
        deadline = time.monotonic() + seconds
        server.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                connection, _ = server.accept()
            except TimeoutError:
                if self._process is not None:
                    self._process.check()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        what = "the game" if self._process is not None else "nobody started the game in Godot's editor: it"
        raise EngineLost(f"{what} has not connected to port {server.getsockname()[1]} within {seconds:g} s. Its scene "
                         "needs the Sync node of Godot RL, or the script of examples/godot_catch; give a slow game "
                         "more time with connect_timeout")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._socket is not None
        data = json.dumps(message).encode()
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(struct.pack("<I", len(data)) + data)
        except TimeoutError:
            raise self._silent() from None
        except OSError:
            raise self._gone() from None

    def _receive(self, kind: str) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout
        (length,) = struct.unpack("<I", self._read(4, deadline))
        if length > MAX_MESSAGE:
            raise EngineLost(f"the game announced a message of {length} bytes, which is not one of Godot RL's")
        data = self._read(length, deadline)
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            raise EngineLost(f"the game sent {_short(data)}, which is not JSON") from None
        if not isinstance(message, dict) or message.get("type", kind) != kind:
            raise EngineLost(f"the game sent {_short(message)} where {kind!r} was expected")
        return message

    def _read(self, count: int, deadline: float) -> bytes:
        assert self._socket is not None
        data = bytearray()
        while len(data) < count:
            try:
                self._socket.settimeout(max(1e-3, deadline - time.monotonic()))
                part = self._socket.recv(count - len(data))
            except TimeoutError:
                raise self._silent() from None
            except OSError:
                raise self._gone() from None
            if not part:
                raise self._gone()
            data += part
            if time.monotonic() > deadline and len(data) < count:
                raise self._silent()
        return bytes(data)

    def _silent(self) -> EngineLost:
        return EngineLost(f"the game did not answer within {self._timeout:g} s (answer_timeout)")

    def _gone(self) -> EngineLost:
        if self._process is not None:
            try:
                for _ in range(20):  # so that the message can say how the process ended, and not only the connection
                    self._process.check()
                    time.sleep(0.05)
            except EngineLost as lost:
                return lost
        return EngineLost("the game closed the connection")


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise UserError(f"Port {port} of this machine, where Godot's editor connects, is taken ({error.strerror}): "
                        "stop the other training run, or name a project, which gets its own port.") from error


def _number_of_agents(info: dict[str, Any]) -> int:
    agents = info.get("n_agents", 1)
    if type(agents) is not int or agents < 1:
        raise EngineLost(f"the game says it has {agents!r} agents")
    return agents


def _agents_of(info: dict[str, Any], count: int, policy: str | None) -> list[int]:
    """The agents to train: all, or those of one policy in newer plugins. Raises UserError if it is not clear which."""
    policies = info.get("agent_policy_names", ["shared_policy"] * count)
    if not isinstance(policies, list) or len(policies) != count:
        raise EngineLost(f"the game names the policies {_short(policies)} for {count} agents")
    names = sorted({str(name) for name in policies})
    if (policy is None and len(names) > 1) or policy not in (None, *names):
        wrong = "The game has several policies" if policy is None else f"The game has no policy {policy!r}"
        raise UserError(f"{wrong}. There are: {', '.join(names)}. Choose the one to train: --env-kwargs "
                        f"'{{\"policy\": \"{names[0]}\"}}'")
    return [place for place, name in enumerate(policies) if policy is None or str(name) == policy]


def _descriptions(described: Any, count: int) -> list[Any]:
    """The description of each agent's space. Newer plugins send a list, older ones describe that of all agents."""
    if not isinstance(described, list) or len(described) == 1:
        return [described[0] if isinstance(described, list) else described] * count
    if len(described) != count:
        raise EngineLost(f"the game describes {len(described)} agents and says that it has {count}")
    return described


def _require_equal(described: list[tuple[Any, Any]]) -> None:
    if other := next((part for part in described if part != described[0]), None):
        raise UserError(f"The game's agents have different spaces: {_short(described[0])} and {_short(other)}. Give "
                        "them different policy names, and choose one with the argument \"policy\".")


def _read_spaces(described: Any) -> dict[str, spaces.Space]:
    """Spaces of the parts of an observation, by name."""
    kinds: dict[str, spaces.Space] = {}
    try:
        for name, part in described.items():
            size = tuple(int(n) for n in np.ravel(part["size"]))
            if part["space"] == "discrete":
                kinds[name] = spaces.Discrete(size[0])
            elif part["space"] == "box" and min(size) > 0:
                kinds[name] = (spaces.Box(0, 255, size, np.uint8) if "2d" in name else
                               spaces.Box(-np.inf, np.inf, size, np.float32))
            else:
                raise ValueError
        assert kinds
    except (AttributeError, AssertionError, KeyError, IndexError, TypeError, ValueError) as error:
        raise EngineLost(f"the game describes its observations as {_short(described)}, which is not one of Godot "
                         "RL's spaces") from error
    return kinds


def _observation_space(kinds: dict[str, spaces.Space]) -> spaces.Space:
    return next(iter(kinds.values())) if len(kinds) == 1 else spaces.Dict(kinds)


def _read_actions(described: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Continuous actions with their sizes and discrete ones with their numbers of choices, both sorted by name."""
    try:
        actions = sorted((name, str(part["action_type"]), int(part["size"])) for name, part in described.items())
        types = {kind for _, kind, _ in actions}
        assert actions and types <= {"discrete", "continuous"} and all(size > 0 for *_, size in actions)
    except (AttributeError, AssertionError, KeyError, TypeError, ValueError) as error:
        raise EngineLost(f"the game describes its actions as {_short(described)}, which is not one of Godot RL's "
                         "spaces") from error
    continuous = {name: size for name, kind, size in actions if kind == "continuous"}
    return continuous, {name: size for name, kind, size in actions if kind == "discrete"}


def _nothing(continuous: dict[str, int], discrete: dict[str, int]) -> np.ndarray:
    """The action of an agent that is not played: zero, and the first choice."""
    return np.zeros(sum(continuous.values()) + len(discrete), int)


def _write_action(action: Any, continuous: dict[str, int], discrete: dict[str, int]) -> dict[str, Any]:
    """Convert an action to JSON: a list for each continuous action, and a number for each discrete one."""
    parts = action if isinstance(action, tuple) else (action,)
    values, found = [value for part in parts for value in np.ravel(part).tolist()], {}
    for name, size in continuous.items():
        found[name], values = values[:size], values[size:]
    return found | dict(zip(discrete, values, strict=True))


def _array(value: Any, space: spaces.Space) -> Any:
    """Convert a value to ``space``; images are sent as hexadecimal digits. Raises TypeError or ValueError if it does
    not fit."""
    if isinstance(space, spaces.Discrete):
        return int(np.ravel(value)[0])
    assert space.shape is not None
    if isinstance(value, str):
        return np.frombuffer(bytes.fromhex(value), np.uint8).reshape(space.shape).astype(space.dtype)
    return np.asarray(value, np.float32).reshape(space.shape).astype(space.dtype)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
