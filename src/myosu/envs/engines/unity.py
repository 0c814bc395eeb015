"""Unity games, by the protocol of ML-Agents (API 1.5.0; Juliani et al. 2018).

We serve one gRPC method, ``Exchange``; the game calls it with what happened and gets what to do as the answer. It first
says who it is (answered by a seed and what we can do), then calls with an empty message, answered by RESET. From then
on each call has the agents that wait for an action or whose episode ended, each answer STEP with actions, or RESET.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from myosu.envs.engines import unity_channels as channels
from myosu.envs.engines.engine_env import EngineEnv
from myosu.envs.engines.process import EngineLost, EngineProcess, require_program
from myosu.envs.engines.unity_messages import ENDS, GOES_ON, PACKAGE, RESET, STEP, UnityInput, UnityMessage
from myosu.envs.engines.unity_values import (
    action_space,
    branches_of,
    default_action,
    observation_space,
    read_mask,
    read_observation,
    write_action,
)
from myosu.errors import UserError

API_VERSION = "1.5.0"
#: Where the editor connects, and the first port for builds.
EDITOR_PORT, BASE_PORT = 5004, 5005
CAPABILITIES = ("baseRLCapabilities", "concatenatedPngObservations", "compressedChannelMapping", "hybridActions",
                "variableLengthObservation", "multiAgentGroups")


class UnityEnv(EngineEnv):
    """One agent of one behaviour in a Unity game; the others get actions that do nothing. When its episode ends, the
    next one is that of any agent that begins. An agent's reward is its own and its group's.

    build: the file that starts the game, or "": wait until somebody presses Play in the editor.
    behavior: the one that is trained, where the game has several, with or without "?team=0".
    time_scale: times real time. no_graphics: without a display (cameras see nothing then). parameters: the game's
        environment parameters. arguments: further ones of the command line. seed: of the game; each of several
        engines adds the number of its port after 5005.
    connect_timeout, answer_timeout: seconds until a game that does not connect, or answer, counts as lost.

    ``info`` has "action_mask" where actions are discrete, and "statistics" where the game sends some.
    """

    def __init__(self, build: str, behavior: str | None = None, time_scale: float = 20.0, no_graphics: bool = False,
                 parameters: Mapping[str, float] | None = None, arguments: Sequence[str] = (), seed: int = 0,
                 connect_timeout: float = 50.0, answer_timeout: float = 20.0) -> None:
        """Raises UserError."""
        command: list[str] = []
        if build:
            require_program(build, "The Unity build")
            command = [os.path.abspath(build), *(["-nographics", "-batchmode"] if no_graphics else []), *arguments]
        told = channels.settings(time_scale) + channels.parameters(parameters or {})
        super().__init__(f"unity:{build}", partial(UnityLink, command, behavior, told, seed, connect_timeout,
                                                   answer_timeout), keep=not build)


class UnityLink:
    """A running game and the server that it calls."""

    def __init__(self, command: list[str], behavior: str | None, told: bytes, seed: int, connect_timeout: float,
                 answer_timeout: float) -> None:
        self._timeout, self._told = answer_timeout, told
        self._process: EngineProcess | None = None
        self._server = _Server(range(BASE_PORT, 65536) if command else range(EDITOR_PORT, EDITOR_PORT + 1))
        #: By behaviour: its description, and the agents that wait for an action.
        self._brains: dict[str, Any] = {}
        self._waiting: dict[str, list[Any]] = {}
        #: Agents whose episode has been played, or was the newest when another one was chosen.
        self._seen: set[int] = set()
        self._agent: int | None = None
        self._name = ""
        try:
            if command:
                self._process = EngineProcess([*command, "--mlagents-port", str(self._server.port)])
            self._greet(seed + self._server.port - EDITOR_PORT, connect_timeout)
            self._exchange(RESET)
            self._name = self._choose(behavior)
            self.action_space = action_space(self._brains[self._name])
            self._branches = branches_of(self.action_space)
            self.observation_space = observation_space(self._waiting[self._name][0].observations)
        except BaseException:
            self.close()
            raise

    def reset(self, seed: int | None) -> tuple[Any, dict[str, Any]]:
        """The game's own seed is that of the handshake, so ``seed`` decides nothing."""
        if self._agent is not None:  # in mid-episode
            self._exchange(RESET)
            self._seen.clear()
        deadline = time.monotonic() + self._timeout
        while True:
            for info in self._waiting.get(self._name, ()):
                if info.id not in self._seen:
                    self._agent = info.id
                    self._seen = {other.id for other in self._waiting[self._name]}
                    return self._observe(info)
            self._go_on(deadline, {})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        deadline = time.monotonic() + self._timeout
        actions = {self._agent: action}
        while True:
            ended = self._go_on(deadline, actions)
            actions = {}
            for info in ended.get(self._name, ()):
                if info.id == self._agent:
                    self._agent = None
                    cut = bool(info.max_step_reached)
                    observation, extra = self._observe(info)
                    return observation, info.reward + info.group_reward, not cut, cut, extra
            for info in self._waiting.get(self._name, ()):
                if info.id == self._agent:
                    observation, extra = self._observe(info)
                    return observation, info.reward + info.group_reward, False, False, extra

    def close(self) -> None:
        self._server.close()
        if self._process is not None:
            self._process.close(patience=2.0)

    # --- the protocol

    def _greet(self, seed: int, seconds: float) -> None:
        first = self._server.hear(seconds, self._check)
        if first is None:
            who = "the game" if self._process is not None else "nobody pressed Play in Unity's editor: it"
            raise EngineLost(f"{who} has not connected to port {self._server.port} within {seconds:g} s. Its agents "
                             "need Behavior Type Default; give a slow game more time with connect_timeout")
        about = first.unity_output.rl_initialization_output
        theirs = about.communication_version
        if theirs.partition(".")[0] != API_VERSION.partition(".")[0]:
            raise UserError(f"The game speaks version {theirs or '(none)'} of ML-Agents' protocol, and Myosu "
                            f"{API_VERSION}: build it with another version of the package com.unity.ml-agents (this "
                            f"one is {about.package_version or 'unknown'}).")
        if theirs != API_VERSION:
            warnings.warn(f"The game speaks version {theirs} of ML-Agents' protocol, and Myosu {API_VERSION}; most "
                          "things will work.", stacklevel=2)
        answer = UnityInput(rl_initialization_input={
            "seed": seed % 2**31, "communication_version": API_VERSION, "package_version": "1.1.0", "num_areas": 1,
            "capabilities": dict.fromkeys(CAPABILITIES, True)})
        self._note_brains(about.brain_parameters)
        self._server.say(answer)
        if self._server.hear(self._timeout, self._check) is None:
            raise self._silent()

    def _exchange(self, command: int, actions: Mapping[str, Sequence[Any]] | None = None) -> dict[str, list[Any]]:
        """Send the command with the actions of those who wait, by behaviour. The agents whose episode ended."""
        told, self._told = self._told, b""
        self._server.say(UnityInput(rl_input={
            "command": command, "side_channel": told,
            "agent_actions": {name: {"value": values} for name, values in (actions or {}).items()}}))
        answer = self._server.hear(self._timeout, self._check)
        if answer is None:
            raise self._silent()
        if answer.header.status != GOES_ON:
            raise EngineLost("the game ended the connection")
        output = answer.unity_output
        self._note_brains(output.rl_initialization_output.brain_parameters)
        infos = {name: list(found.value) for name, found in output.rl_output.agentInfos.items()}
        if unknown := infos.keys() - self._brains.keys():
            raise EngineLost(f"the game sent agents of {min(unknown)}, a behaviour that it never described")
        self._waiting = {name: [info for info in found if not info.done] for name, found in infos.items()}
        self.statistics = channels.read_statistics(output.rl_output.side_channel)
        return {name: [info for info in found if info.done] for name, found in infos.items()}

    def _go_on(self, deadline: float, actions: Mapping[int | None, Any]) -> dict[str, list[Any]]:
        """``_exchange`` of a step: ``actions`` of agents of our behaviour, and defaults for all others that wait."""
        if time.monotonic() > deadline:
            raise EngineLost(f"no agent {self._name and f'of {self._name} '}asked for an action within "
                             f"{self._timeout:g} s (answer_timeout)")
        values = {}
        for name, waiting in self._waiting.items():
            space = action_space(self._brains[name])
            values[name] = [write_action(
                actions[info.id] if name == self._name and info.id in actions else
                default_action(space, _mask(info, branches_of(space))), space) for info in waiting]
        return self._exchange(STEP, values)

    def _choose(self, wanted: str | None) -> str:
        """The behaviour that is trained, once an agent of it waits."""
        deadline = time.monotonic() + self._timeout
        while True:
            names = sorted(self._brains)
            fits = [name for name in names if wanted in (None, name, name.partition("?")[0])]
            if names and len(fits) != 1:
                wrong = "The game has several behaviours" if fits else f"The game has no behaviour {wanted!r}"
                raise UserError(f"{wrong}. There are: {', '.join(names)}. Say which one is trained: --env-kwargs "
                                f"'{{\"behavior\": \"{names[0]}\"}}'")
            if fits and self._waiting.get(fits[0]):
                return fits[0]
            self._go_on(deadline, {})

    def _note_brains(self, described: Sequence[Any]) -> None:
        self._brains.update((brain.brain_name, brain) for brain in described)

    def _observe(self, info: Any) -> tuple[Any, dict[str, Any]]:
        extra: dict[str, Any] = {"statistics": self.statistics} if self.statistics else {}
        if self._branches:
            extra["action_mask"] = _mask(info, self._branches)
        return read_observation(info.observations, self.observation_space), extra

    def _check(self) -> None:
        if self._process is not None:
            self._process.check()

    def _silent(self) -> EngineLost:
        return EngineLost(f"the game did not answer within {self._timeout:g} s (answer_timeout)")


def _mask(info: Any, branches: list[int]) -> Any:
    return read_mask(info.action_mask, branches) if branches else None


class _DaemonThreads(Executor):
    """A thread for each call. Python's own pools wait for their threads when the process ends; the call that an
    environment leaves open that nobody closed would wait for ever."""

    def submit(self, function: Any, /, *arguments: Any, **kwargs: Any) -> Future:
        future: Future = Future()

        def call() -> None:
            try:
                future.set_result(function(*arguments, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=call, daemon=True).start()
        return future


class _Server:
    """The gRPC server on this machine's own address, and the one call that is open at a time."""

    def __init__(self, ports: range) -> None:
        """On the first of ``ports`` that is free. Raises UserError."""
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._server = grpc.server(_DaemonThreads(), options=[
            ("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
        # As bytes: what cannot be read is an error of the game, which our thread must hear of.
        call = grpc.unary_unary_rpc_method_handler(lambda request, _: self._exchange(request))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            f"{PACKAGE}.UnityToExternalProto", {"Exchange": call}),))
        self.port = self._bind(ports)
        self._server.start()
        self._open = False

    def _bind(self, ports: range) -> int:
        for port in ports:
            try:
                if self._server.add_insecure_port(f"127.0.0.1:{port}"):
                    return port
            except RuntimeError:
                continue
        raise UserError(f"Port {ports[0]} of this machine, where Unity's editor connects, is taken. The editor can "
                        "serve only one environment: end the other training, and add --num-envs 1 --actors 0 "
                        "--evaluate-every 0.")

    def hear(self, seconds: float, check: Any) -> Any:
        """The message of the game's next call; None if there is none within so many seconds. Raises EngineLost."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                data = self._heard.get(timeout=max(0.0, min(0.2, deadline - time.monotonic())))
            except queue.Empty:
                check()
                if time.monotonic() > deadline:
                    return None
                continue
            self._open = True
            try:
                return UnityMessage.FromString(data)
            except DecodeError as error:
                raise EngineLost("the game sent what is no message of ML-Agents") from error

    def say(self, content: Any) -> None:
        """Answer the open call."""
        self._open = False
        self._answers.put(UnityMessage(header={"status": GOES_ON}, unity_input=content).SerializeToString())

    def close(self) -> None:
        """Let the open call end the game."""
        if self._open:
            self._answers.put(UnityMessage(header={"status": ENDS}).SerializeToString())
        self._server.stop(grace=0.5).wait(1.0)

    def _exchange(self, request: bytes) -> bytes:
        self._heard.put(request)
        return self._answers.get()
