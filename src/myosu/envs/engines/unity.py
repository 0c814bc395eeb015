"""Unity games, with the protocol of ML-Agents (API 1.5.0; Juliani et al. 2018).

Myosu serves one gRPC method, ``Exchange``. The game calls it with its state, and the answer is the next command. The
first call describes the game (answered with a seed and Myosu's capabilities); the second one is empty and is answered
with RESET. From then on each call has the agents that wait for an action or whose episode ended, and each answer is
STEP with actions, or RESET.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from myosu.envs.engines import unity_channels as channels
from myosu.envs.engines.engine_env import Engine, EngineEnv, Event
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
#: The port that the editor connects to, and the first port for builds.
EDITOR_PORT, BASE_PORT = 5004, 5005
CAPABILITIES = ("baseRLCapabilities", "concatenatedPngObservations", "compressedChannelMapping", "hybridActions",
                "variableLengthObservation", "multiAgentGroups")


class UnityEnv(EngineEnv):
    """One agent of one behaviour in a Unity game as a Gymnasium environment.

    All other agents take default actions. When the agent's episode ends, the next episode is that of any agent that
    begins one. The reward is the sum of the agent's and its group's rewards.

    build: the file that starts the game, or "" to wait until Play is pressed in the editor.
    behavior: the behaviour to train if the game has several, with or without "?team=0".
    time_scale: speed as a multiple of real time.
    no_graphics: run without a display; cameras see nothing then.
    parameters: the game's environment parameters.
    arguments: more command-line arguments for the game.
    agents: number of agents of the behaviour that can be trained at the same time; None: as many as ask for an action
        when the game begins, until one of them asks again.
    seed: the game's seed, to which the engine's port − 5004 is added, so that engines differ.
    connect_timeout, answer_timeout: timeouts in seconds for the game's connection and for each answer.

    ``info`` has "action_mask" if actions are discrete, and "statistics" if the game sends some.
    """

    def __init__(self, build: str, behavior: str | None = None, time_scale: float = 20.0, no_graphics: bool = False,
                 parameters: Mapping[str, float] | None = None, arguments: Sequence[str] = (),
                 agents: int | None = None, seed: int = 0, connect_timeout: float = 50.0,
                 answer_timeout: float = 20.0) -> None:
        """Raises UserError."""
        command: list[str] = []
        if build:
            require_program(build, "The Unity build")
            command = [os.path.abspath(build), *(["-nographics", "-batchmode"] if no_graphics else []), *arguments]
        told = channels.settings(time_scale) + channels.parameters(parameters or {})
        connect = partial(UnityLink, command, behavior, told, agents, seed, connect_timeout, answer_timeout)
        super().__init__(Engine(f"unity:{build}", connect, keep=not build))


@dataclass
class _Slot:
    """A played agent. id: its id, which is a new one for each episode; None: it waits for its next episode. action: the
    action for the next time that it asks for one."""

    id: int | None = None
    action: Any = None


class UnityLink:
    """A running game and the gRPC server that it calls (``engine_env.Link``).

    An agent may ask for actions less often than others: each answer comes when its agent asks again.
    """

    def __init__(self, command: list[str], behavior: str | None, told: bytes, agents: int | None, seed: int,
                 connect_timeout: float, answer_timeout: float) -> None:
        self._timeout, self._told = answer_timeout, told
        self._process: EngineProcess | None = None
        self._server = _Server(range(BASE_PORT, 65536) if command else range(EDITOR_PORT, EDITOR_PORT + 1))
        #: Description of each behaviour, and its agents that wait for an action.
        self._brains: dict[str, Any] = {}
        self._waiting: dict[str, list[Any]] = {}
        #: The played agents, and the ids of agents that are not played.
        self._slots: list[_Slot] = []
        self._spare: set[int] = set()
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
            self.agents = agents or self._count_agents()
        except BaseException:
            self.close()
            raise

    def reset(self, seeds: Sequence[int | None]) -> list[Event]:
        """``seeds`` have no effect, because ML-Agents only sets the seed in the handshake. The game is reset unless the
        episodes of all played agents have ended."""
        if len(self._slots) != len(seeds) or any(slot.id is not None for slot in self._slots):
            self._slots, self._spare = [_Slot() for _ in seeds], set()
            self._exchange(RESET)
            events = self._assign()
        else:
            events = []
        deadline = time.monotonic() + self._timeout
        begun: dict[int, tuple] = {}
        while True:
            for agent, event in events:
                # An agent that asks again before all have begun has done something harmless meanwhile.
                begun[agent] = event if len(event) == 2 else (event[0], event[4])
            if all(slot.id is not None for slot in self._slots):
                return list(begun.items())
            events = self._go_on(deadline)

    def restart(self, seeds: Mapping[int, int]) -> list[Event]:
        """ML-Agents cannot reset single agents; they begin their next episodes by themselves."""
        return []

    def act(self, actions: Mapping[int, Any]) -> None:
        for agent, action in actions.items():
            self._slots[agent].action = action

    def answers(self) -> list[Event]:
        deadline = time.monotonic() + self._timeout
        while not (events := self._go_on(deadline)):
            pass
        return events

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
        """Send the command with the actions of the waiting agents, by behaviour. Returns the agents whose episode
        ended, by behaviour."""
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

    def _go_on(self, deadline: float) -> list[Event]:
        """``_advance``, and return what happened to the played agents."""
        events: list[Event] = []
        ended = self._advance(deadline).get(self._name, [])
        ids = [slot.id for slot in self._slots]
        for info in ended:
            self._spare.discard(info.id)
            if info.id in ids:
                agent, cut = ids.index(info.id), bool(info.max_step_reached)
                observation, extra = self._observe(info)
                events.append((agent, (observation, info.reward + info.group_reward, not cut, cut, extra)))
                self._slots[agent] = _Slot()
        return events + self._assign()

    def _advance(self, deadline: float) -> dict[str, list[Any]]:
        """Send STEP with the actions of the played agents that wait for one, and default actions for all other waiting
        agents. Returns the agents whose episode ended, by behaviour. Raises EngineLost after ``deadline``."""
        if time.monotonic() > deadline:
            raise EngineLost(f"no agent {self._name and f'of {self._name} '}asked for an action within "
                             f"{self._timeout:g} s (answer_timeout)")
        slots = {slot.id: slot for slot in self._slots if slot.action is not None}
        values: dict[str, list[Any]] = {}
        for name, waiting in self._waiting.items():
            space, values[name] = action_space(self._brains[name]), []
            for info in waiting:
                if name == self._name and info.id in slots:
                    action, slots[info.id].action = slots[info.id].action, None
                else:
                    action = default_action(space, _mask(info, branches_of(space)))
                values[name].append(write_action(action, space))
        return self._exchange(STEP, values)

    def _assign(self) -> list[Event]:
        """Let agents that begin an episode take the places of those whose episode has ended. Returns the beginnings,
        and the answers to the actions of the other played agents that wait now."""
        events: list[Event] = []
        for info in self._waiting.get(self._name, ()):
            ids = [slot.id for slot in self._slots]
            if info.id in ids:
                agent = ids.index(info.id)
                if self._slots[agent].action is None:  # otherwise it is used now, and answered the next time
                    observation, extra = self._observe(info)
                    events.append((agent, (observation, info.reward + info.group_reward, False, False, extra)))
            elif info.id not in self._spare and None in ids:
                self._slots[ids.index(None)].id = info.id
                events.append((ids.index(None), self._observe(info)))
            else:
                self._spare.add(info.id)
        return events

    def _count_agents(self) -> int:
        """Number of agents that ask for actions until one of them asks again, so that those that decide at other times
        are counted, or ends its episode."""
        deadline, seen = time.monotonic() + self._timeout, set[int]()
        while True:
            ids = {info.id for info in self._waiting.get(self._name, ())}
            if ids & seen:
                return len(seen)
            seen |= ids
            if self._advance(deadline).get(self._name):
                return len(seen)

    def _choose(self, wanted: str | None) -> str:
        """Name of the behaviour to train. Waits until one of its agents needs an action."""
        deadline = time.monotonic() + self._timeout
        while True:
            names = sorted(self._brains)
            fits = [name for name in names if wanted in (None, name, name.partition("?")[0])]
            if names and len(fits) != 1:
                wrong = "The game has several behaviours" if fits else f"The game has no behaviour {wanted!r}"
                raise UserError(f"{wrong}. There are: {', '.join(names)}. Choose the one to train: --env-kwargs "
                                f"'{{\"behavior\": \"{names[0]}\"}}'")
            if fits and self._waiting.get(fits[0]):
                return fits[0]
            self._advance(deadline)

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
    """Runs each call in a daemon thread. Python's thread pools wait for their threads at exit, which would hang if an
    environment with an open call was not closed."""

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
    """The gRPC server on the loopback address. At most one call is open at a time."""

    def __init__(self, ports: range) -> None:
        """Listen on the first free port of ``ports``. Raises UserError if there is none."""
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._server = grpc.server(_DaemonThreads(), options=[
            ("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
        # Messages are parsed in ``hear``, so that the environment's thread gets the error of an invalid one.
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
                        "serve only one environment: stop the other training run, and add --num-envs 1 --actors 0 "
                        "--evaluate-every 0.")

    def hear(self, seconds: float, check: Any) -> Any:
        """The message of the game's next call; None after ``seconds`` without one. Raises EngineLost."""
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
                raise EngineLost("the game sent data that is not a message of ML-Agents") from error

    def say(self, content: Any) -> None:
        """Answer the open call."""
        self._open = False
        self._answers.put(UnityMessage(header={"status": GOES_ON}, unity_input=content).SerializeToString())

    def close(self) -> None:
        """Answer the open call with the end of the game, and stop the server."""
        if self._open:
            self._answers.put(UnityMessage(header={"status": ENDS}).SerializeToString())
        self._server.stop(grace=0.5).wait(1.0)

    def _exchange(self, request: bytes) -> bytes:
        self._heard.put(request)
        return self._answers.get()
