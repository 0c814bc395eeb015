"""A Gymnasium environment in the browser: a person plays it by keys or buttons, or watches an agent.

Every page has its own environment in its own thread, because some rendering libraries must always be called from the
same thread. Played episodes can be recorded, as ``myosu record`` does.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from myosu.algorithms.interface import Agent, AgentState
from myosu.envs.gym_env import SingleEnv, row_at, row_type
from myosu.envs.playback import as_image
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.evaluation.recording import KeptGames, Settings, claim
from myosu.runs.files import writing_to
from myosu.runs.games import GameRecord
from myosu.web.controls import find_controls

#: Maximum number of environments; frame rate below which an environment waits for the person before every step.
SESSIONS, TURNS = 8, 15
#: Limits of the speed that a page may request, as a multiple of the environment's own.
SPEED = (0.1, 10.0)


class Screen:
    """The ``environment`` that the pages show, and the ``agent``, if any.

    recording: writes episodes played by a person; None records nothing.
    """

    def __init__(self, environment: Environment, agent: Agent | None, recording: Recorder | None) -> None:
        assert environment.maker is not None
        self.environment, self.agent, self.recording = environment, agent, recording
        self.maker = environment.maker.with_arguments(render_mode="rgb_array")
        self.agent_lock = threading.Lock()  # an agent may reuse buffers, so one page at a time uses it
        self.sessions = 0
        self._try()

    def _try(self) -> None:
        """Raise UserError if the environment cannot be made or does not render images."""
        session = Session(self)
        try:
            session.start()
        finally:
            session.close()

    def close(self) -> None:
        if self.recording is not None:
            self.recording.close()


class Recorder:
    """Writes episodes played by a person into a folder, in the format of ``myosu record``."""

    def __init__(self, folder: Path, environment: Environment, kwargs: dict[str, Any]) -> None:
        self._held = claim(folder, environment.name, kwargs, "score", Settings(("person",)))
        self._kept, self._lock = KeptGames(folder, environment), threading.Lock()

    @property
    def episodes(self) -> int:
        return len(self._kept.numbers)

    def write(self, record: GameRecord) -> None:
        """Add the episode with the folder's next index."""
        with self._lock, writing_to(self._kept.folder):
            self._kept.add(replace(record, index=1 + max(self._kept.numbers, default=-1)))

    def close(self) -> None:
        self._kept.close()
        os.close(self._held)


class Session:
    """One environment that is played and watched."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.spec = screen, screen.environment.spec
        self._env = SingleEnv(screen.maker, 0, secrets.randbits(31))
        self._row = row_at(np.zeros(1, row_type(self.spec)), 0)
        gym_env = self._env.gym_env
        self.fps = float(gym_env.metadata.get("render_fps") or 30)
        self.controls = find_controls(gym_env, self.spec)
        self.agent_plays = screen.agent is not None
        self.episode = -1
        self._memory: AgentState | None = None

    def start(self) -> bytes:
        """Begin the next episode. Returns its first image as PNG."""
        self.episode += 1
        self._env.start(self._row, self.episode)
        self._begun()
        return self.image()

    def _begun(self) -> None:
        self.steps, self.total, self.by_person = 0, 0.0, True
        self.seed = int(self._row["seed"][0])
        self.actions: list[Any] = []

    def image(self) -> bytes:
        image = as_image(self._env.render())
        if image is None:
            raise UserError(f"{self.screen.environment.name} renders no images: its render() must return uint8 "
                            "[height, width, 3] with render_mode=\"rgb_array\".")
        return png(image)

    def step(self, chosen: Any) -> dict[str, Any]:
        """Take one step, with the agent's action if ``chosen`` is None. Raises UserError if the action is invalid or
        not allowed now."""
        action = self._of_agent() if chosen is None else self._of_person(chosen)
        self.by_person &= chosen is not None
        self.actions.append(action.tolist())
        self._row["action"][0] = action
        self._env.step(self._row)
        self.steps += 1
        self.total += float(self._row["reward"][0])
        terminated, truncated = bool(self._row["terminated"][0]), bool(self._row["truncated"][0])
        state = {"type": "step", "step": self.steps, "return": self.total, "reward": float(self._row["reward"][0]),
                 "action": action.tolist(), "over": terminated or truncated, "truncated": truncated,
                 "person": self.by_person}
        if state["over"]:
            self._memory = None
            if self.by_person and self.screen.recording is not None:
                self.screen.recording.write(GameRecord(self.seed, self.actions, [self.total], terminated, truncated,
                                                       players=[{"kind": "person"}]))
                state["recorded"] = self.screen.recording.episodes
            self.episode += 1
            self._begun()
        return state

    def _of_agent(self) -> np.ndarray:
        assert self.screen.agent is not None
        with self.screen.agent_lock:
            actions, self._memory = self.screen.agent.act(
                self._row["observation"], self._row["legal_actions"], self._memory,
                np.array([self.steps == 0 or self._memory is None]))
        return np.asarray(actions)[0].astype(self.spec.action_dtype)

    def _of_person(self, chosen: Any) -> np.ndarray:
        try:
            action = np.array(chosen, np.float64).reshape(self.spec.action_shape)
        except (ValueError, TypeError):
            raise UserError(f"{str(chosen)[:60]} is not an action of {self.screen.environment.name}.") from None
        if self.spec.action_low:
            return np.clip(np.nan_to_num(action), self.spec.action_low, self.spec.action_high).astype(
                self.spec.action_dtype)
        if self.spec.action_branches or not 0 <= action < self.spec.num_actions or action != int(action):
            raise UserError(f"{str(chosen)[:60]} is not an action of {self.screen.environment.name}.")
        if not self._row["legal_actions"][0, int(action)]:
            raise UserError("That is not allowed now.")
        return action.astype(self.spec.action_dtype)

    def close(self) -> None:
        self._env.close()


class Show:
    """A session as seen and controlled by one page."""

    def __init__(self, screen: Screen, websocket: Any) -> None:
        self._screen, self._websocket = screen, websocket
        self._worker = ThreadPoolExecutor(1, "screen")
        self._changed = asyncio.Event()
        self._paused, self._speed, self._restart = False, 1.0, False
        self._held: Any = None
        self._tapped: Any = None

    async def run(self) -> None:
        """Serve the page until it disconnects."""
        loop = asyncio.get_running_loop()

        async def do(function: Any, *arguments: Any) -> Any:
            return await loop.run_in_executor(self._worker, function, *arguments)

        self._session = session = await do(Session, self._screen)
        reader = asyncio.create_task(self._read())
        try:
            await self._websocket.send_json(self._hello())
            await self._websocket.send_bytes(await do(session.start))
            while not reader.done():
                began = loop.time()
                if self._restart:
                    self._restart = False
                    await self._websocket.send_json({"type": "begun"})
                    await self._websocket.send_bytes(await do(session.start))
                if (chosen := self._choice()) is _WAIT:
                    self._changed.clear()
                    changed = asyncio.create_task(self._changed.wait())
                    await asyncio.wait({changed, reader}, return_when=asyncio.FIRST_COMPLETED)
                    changed.cancel()
                    continue
                try:
                    state = await do(session.step, chosen)
                except UserError as error:
                    await self._websocket.send_json({"type": "error", "message": str(error)})
                    state = {}
                if state:
                    await self._websocket.send_json(state)
                    await self._websocket.send_bytes(await do(session.image))
                await asyncio.sleep(max(0.0, began + 1 / (session.fps * self._speed) - loop.time()))
        finally:
            reader.cancel()
            await do(session.close)
            self._worker.shutdown(wait=False)

    def _hello(self) -> dict[str, Any]:
        session = self._session
        return {"type": "hello", "name": self._screen.environment.name, "agent": self._screen.agent is not None,
                "turns": session.fps < TURNS, "fps": session.fps,
                "controls": [vars(control) for control in session.controls.controls],
                "recorded": None if self._screen.recording is None else self._screen.recording.episodes}

    def _choice(self) -> Any:
        """The action to take, None for the agent's action, or ``_WAIT``."""
        session = self._session
        if self._paused:
            return _WAIT
        if session.agent_plays:
            return None
        chosen, self._tapped = (self._held if self._tapped is None else self._tapped), None
        if chosen is None:
            # An episode begins with the first key, because it could be over before the person is ready.
            waits = session.steps == 0 or session.fps < TURNS or not session.controls.controls
            return _WAIT if waits else session.controls.idle
        return chosen

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                self._do(message.get("text"))
            except UserError as error:
                await self._websocket.send_json({"type": "error", "message": str(error)})
            self._changed.set()

    def _do(self, text: str | None) -> None:
        try:
            order = json.loads(text or "")
            kind, value = order["type"], order.get("value")
        except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
            raise UserError("A message is a JSON object with a type and a value.") from None
        if kind == "hold":  # the action of the keys that are held now; null if none is held
            self._held = value
            self._tapped = value if value is not None else self._tapped
            if self._session.fps < TURNS:
                self._held = None  # one press is one step
        elif kind == "who" and value in ("agent", "person"):
            self._session.agent_plays = value == "agent" and self._screen.agent is not None
            self._held = self._tapped = None
        elif kind == "pause" and isinstance(value, bool):
            self._paused = value
        elif kind == "speed" and isinstance(value, int | float) and SPEED[0] <= value <= SPEED[1]:
            self._speed = float(value)
        elif kind == "restart":
            self._restart = True
        else:
            raise UserError(f"{str(kind)[:20]} {str(value)[:20]} is not a command. Types: hold, who, pause, speed, "
                            "restart.")


#: Wait for the next message from the page.
_WAIT = object()


def png(image: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3] as a PNG file."""
    height, width = image.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # the first byte of a row is its filter: none
    rows[:, 1:] = image.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 1))
            + chunk(b"IEND", b""))
