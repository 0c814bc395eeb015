"""Actors on the machines of a Ray cluster; learner and evaluator stay where the command runs.

A process of its own speaks with Ray, the *relay*. To the learner it is one more actor process: it asks over a pipe, and
gets newer weights or, while the learner is behind, no answer. So Ray is never in the learner's process, and whatever
happens to Ray or to the network never keeps the learner waiting; a relay that dies is replaced, and its actors with it.

Weights go out once, into Ray's object store, and from there once to each machine. Every actor has one call in flight,
which carries newer weights if the last one did not, and comes back as a report. A report that got lost is never asked
for again, so nothing is counted twice.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from safetensors.torch import load

from myosu import trust
from myosu.algorithms import algorithm_of
from myosu.algorithms.interface import Actor
from myosu.envs.given import pack_given, unpack_given
from myosu.errors import UserError
from myosu.processes import end_with, exit_on_sigterm, spawn
from myosu.randomness import derive_seed, prepare_process
from myosu.runs.config import RunConfig
from myosu.sources.actors import env_notices, make_actor
from myosu.sources.processes import MAX_FAILURES, REPORT_SECONDS, ActorProcesses, Report

#: An actor reports after so many episodes and seconds, for a call of Ray costs as much as some episodes; it reports
#: anyway after ``REPORT_SECONDS``.
REPORT_EPISODES, REPORT_LEAST_SECONDS = 32, 0.1
#: Seconds between looks at which nodes are there, and over which their rates are taken.
NODES_SECONDS, RATE_SECONDS = 1.0, 5.0
#: The relay reports at least so often (seconds).
TURN_SECONDS = 0.2
#: Seconds until a cluster that was lost is tried again, and for which an address may take to answer.
RETRY_SECONDS, ANSWER_SECONDS = 5.0, 3.0


def require_cluster(config: RunConfig, address: str) -> None:
    """Raises UserError where a run with this configuration cannot have its actors in the cluster at ``address``
    (HOST:PORT of its head, or "auto": the one that this machine belongs to)."""
    source = algorithm_of(config).SOURCE
    if source in ("only in turn", "recorded"):
        why = "acts and learns in turn" if source == "only in turn" else "learns from recorded games"
        raise UserError(f"cluster = {address}: {config.algorithm} {why}, so it has no actors for other machines.")
    if config.train.deterministic or config.train.actors == 0:
        what = "deterministic" if config.train.deterministic else "actors = 0"
        raise UserError(f"cluster = {address}: with {what} one process plays and learns in turn. Leave one out.")
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"cluster = {address}: this needs Ray, which is not installed: pip install 'myosu[ray]'")
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"cluster = {address}: give HOST:PORT of the cluster's head, such as 10.0.0.1:6379, or auto.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"cluster = {address}: nothing answers there ({error}). Start the cluster's head with: "
                        "sh scripts/cluster.sh head") from None


class Harvest(NamedTuple):
    """What a relay reports. version: of the weights that it has. reports: of actors, since the last harvest. starts:
    actors ever started by the run. lost: actors replaced since the last harvest. error, mendable: as of ``Report``.
    nodes: of each machine ``actors``, ``env_steps_per_second`` and the mean ``weights_age`` in updates."""

    version: int
    reports: tuple[Report, ...] = ()
    starts: int = 0
    slots: int = 0
    lost: int = 0
    notices: tuple[str, ...] = ()
    nodes: dict[str, dict[str, float]] | None = None
    error: str = ""
    mendable: bool = False


class ClusterActors(ActorProcesses):
    """Actors in the cluster at ``address`` (``source.Source``): ``count`` of them, by default one for each core but the
    learner's, as nodes come and go."""

    who = "The connection to the cluster"

    def __init__(self, config: RunConfig, address: str, count: int | None) -> None:
        super().__init__(config, 1)
        self._address, self._wanted = address, count
        self._games_at_once, self.slack = self.slack, 0
        self._relays, self._joined = 0, False
        self._acts_here = False  # its games would be those of another actor, for the relay numbers them

    def _start(self) -> None:
        key, self._relays = self._relays, self._relays + 1
        self._processes[key], connection = spawn(
            _relay, self._config.to_json(), pack_given(self._config.game), self._address, self._wanted, self.starts,
            self._joined)
        threading.Thread(target=self._serve, args=(key, connection), daemon=True).start()

    def _receive(self, harvest: Any) -> None:
        for report in harvest.reports:
            super()._receive(report)
        self._notices += harvest.notices
        self.starts = max(self.starts, harvest.starts)
        self.restarts += harvest.lost
        if harvest.nodes is not None:
            self.nodes, self.slack = harvest.nodes, harvest.slots * self._games_at_once
            self._joined = self._joined or bool(self.nodes)


# --- in the relay


def _relay(connection: Connection, parent: int, config_json: dict[str, Any], given: bytes, address: str,
           wanted: int | None, starts: int, again: bool) -> None:
    end_with(parent)
    exit_on_sigterm()
    try:
        while not _connected(address, patient=again):
            connection.send(Harvest(-1, starts=starts, nodes={}, notices=(
                f"The cluster does not answer; next try in {RETRY_SECONDS:g} s.",)))
            connection.recv()
            time.sleep(RETRY_SECONDS)
        crew = _Crew((config_json, given, trust.agreed()), wanted, starts)
        while True:
            connection.send(crew.turn())
            if (reply := connection.recv()) is not None:
                crew.take_weights(*reply)
    except (EOFError, BrokenPipeError):
        pass  # The learner has gone, or wants this process to.
    except UserError as error:
        connection.send(Harvest(-1, error=str(error), mendable=True))
    except Exception:
        connection.send(Harvest(-1, error=traceback.format_exc()))


def _connected(address: str, patient: bool) -> bool:
    """Join the cluster. Raises UserError where that fails, unless ``patient``."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray has no common class for what may be wrong here
        if patient:
            return False
        raise UserError(f"cluster = {address}: {_first_lines(error)} This machine must belong to the cluster and have "
                        "its token: sh scripts/cluster.sh join HOST:PORT (docs/scale.md)") from error
    exit_on_sigterm()  # Ray has put its own
    return True


@dataclass
class _Node:
    """A machine of the cluster. steps: taken there since the rate was last computed."""

    address: str
    cores: int
    actors: int = 0
    steps: int = 0
    rate: float = 0.0


@dataclass
class _Remote:
    """An actor. sent: version of the weights that its last call carried; played: of those behind its last report."""

    handle: Any
    node: str
    sent: int = -1
    played: int = -1
    delivered: bool = False


class _Crew:
    """All actors in the cluster, and what they are doing. setup: what makes an actor, beside its number."""

    def __init__(self, setup: tuple[Any, ...], wanted: int | None, starts: int) -> None:
        import ray

        self.ray, self.setup, self.wanted, self.starts = ray, setup, wanted, starts
        self.home = ray.get_runtime_context().get_node_id()
        self.nodes: dict[str, _Node] = {}
        self.refused: set[str] = set()
        self.idle: list[_Remote] = []
        self.calls: dict[Any, _Remote] = {}
        self.version = -1
        self.weights: Any = None  # a reference into the object store
        self.notices: list[str] = []
        self.lost = self.failures = 0
        self.looked_at = self.rated_at = -1e9
        self.remote_actor = ray.remote(num_cpus=1, max_restarts=0)(_NodeActor)

    def take_weights(self, version: int, data: bytes) -> None:
        self.version, self.weights = version, self.ray.put(data)

    def turn(self) -> Harvest:
        """Start actors where there is room, give work to those who wait, and take what came in."""
        if time.monotonic() - self.looked_at >= NODES_SECONDS:
            self.look_at_nodes()
        if self.weights is None:
            return Harvest(self.version, starts=self.starts)
        self.idle += self.new_actors()
        for remote in self.idle:
            weights = self.weights if remote.sent != self.version else None
            self.calls[remote.handle.play.remote(self.version, weights)] = remote
            remote.sent = self.version
        self.idle = []
        reports = tuple(self.take_reports())
        lost, self.lost = self.lost, 0
        notices, self.notices = tuple(self.notices), []
        return Harvest(self.version, reports, self.starts, sum(node.actors for node in self.nodes.values()), lost,
                       notices, self.figures())

    def look_at_nodes(self) -> None:
        """Which nodes are there; those that are new must have the same Myosu."""
        self.looked_at = time.monotonic()
        alive = {node["NodeID"]: node for node in self.ray.nodes() if node["Alive"]}
        for key in self.nodes.keys() - alive.keys():
            self.notices.append(f"The node {self.nodes.pop(key).address} was lost.")
        for key in alive.keys() - self.nodes.keys() - self.refused:
            address, cores = alive[key]["NodeManagerAddress"], int(alive[key]["Resources"].get("CPU", 0))
            if wrong := self.misfit(key):
                if not self.nodes:
                    raise UserError(f"The cluster's node {address} {wrong}")
                self.refused.add(key)
                self.notices.append(f"The node {address} is not used: it {wrong}")
            else:
                self.nodes[key] = _Node(address, cores - (key == self.home and self.wanted is None))
                self.notices.append(f"The node {address} with {cores} cores is used.")

    def misfit(self, node: str) -> str:
        """What is wrong with a node's Python or Myosu, in words."""
        there, here = self.ask_versions(node), _versions()()
        if isinstance(there, str):
            return f"does not answer: {there}"
        if there["Myosu"] is None:
            return "has no Myosu. Install the one that is here, into the Python that Ray runs with."
        differing = [f"{name} {there[name]}, here {here[name]}" for name in here if there[name] != here[name]]
        return f"has {'; '.join(differing)}. Install the same on all nodes." if differing else ""

    def ask_versions(self, node: str) -> Any:
        task = self.ray.remote(num_cpus=0, max_retries=0)(_versions()).options(scheduling_strategy=self.only_on(node))
        try:
            return self.ray.get(task.remote(), timeout=60)
        except self.ray.exceptions.RayError as error:
            return _first_lines(error)

    def only_on(self, node: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=False)

    def new_actors(self) -> Iterator[_Remote]:
        """One for each core that has none, the emptiest node first."""
        while self.nodes:
            key, node = min(self.nodes.items(), key=lambda item: (item[1].actors + 1) / max(item[1].cores, 1e-9))
            if node.actors >= node.cores or sum(each.actors for each in self.nodes.values()) == self.wanted:
                return
            handle = self.remote_actor.options(scheduling_strategy=self.only_on(key)).remote(*self.setup, self.starts)
            self.starts += 1
            node.actors += 1
            yield _Remote(handle, key)

    def take_reports(self) -> Iterator[Report]:
        """Wait a moment for the first."""
        if not self.calls:
            time.sleep(TURN_SECONDS)
            return
        ready, waiting = self.ray.wait(list(self.calls), timeout=TURN_SECONDS)
        if ready and waiting:
            ready += self.ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
        for call in ready:
            remote = self.calls.pop(call)
            try:
                report = self.ray.get(call)
            except self.ray.exceptions.RayError as error:
                self.replace(remote, _first_lines(error))
                continue
            if report.error:
                if report.mendable:
                    raise UserError(f"On the node {self.address_of(remote)}: {report.error}")
                self.replace(remote, report.error.strip().splitlines()[-1])
                continue
            remote.played, remote.delivered = report.version, True
            self.failures = 0
            if remote.node in self.nodes:
                self.nodes[remote.node].steps += report.experience.steps
                self.idle.append(remote)
            yield report

    def replace(self, remote: _Remote, reason: str) -> None:
        """Let another actor take its place, here or elsewhere."""
        self.ray.kill(remote.handle)  # it may be alive beyond a link that was cut
        self.look_at_nodes()
        self.lost += 1
        address = self.address_of(remote)
        if remote.node in self.nodes:
            self.nodes[remote.node].actors -= 1
            self.failures += not remote.delivered
        if self.failures > MAX_FAILURES:
            raise RuntimeError(f"{self.failures} actors failed without finishing a game. The last one, on the node "
                               f"{address}: {reason}")
        self.notices.append(f"An actor on the node {address} was replaced: {reason}")

    def address_of(self, remote: _Remote) -> str:
        return self.nodes[remote.node].address if remote.node in self.nodes else "that was lost"

    def figures(self) -> dict[str, dict[str, float]]:
        """Of each machine, for the metrics."""
        seconds = time.monotonic() - self.rated_at
        remotes = [*self.idle, *self.calls.values()]
        found: dict[str, dict[str, float]] = {}
        for key, node in self.nodes.items():
            if seconds >= RATE_SECONDS:
                node.rate, node.steps = node.steps / seconds, 0
            ages = [self.version - remote.played for remote in remotes if remote.node == key and remote.delivered]
            found[node.address] = {"actors": node.actors, "env_steps_per_second": round(node.rate, 2),
                                   "weights_age": round(sum(ages) / len(ages), 1) if ages else 0.0}
        if seconds >= RATE_SECONDS:
            self.rated_at = time.monotonic()
        return found


def _versions() -> Any:
    """A function that tells versions and goes to a node as it is, for that may lack Myosu or have another."""
    def versions() -> dict[str, str | None]:
        import hashlib
        import pathlib
        import platform

        try:
            import myosu
        except ImportError:
            return {"Python": platform.python_version(), "Myosu": None, "Myosu's code": None}
        code = hashlib.sha256()
        for file in sorted(pathlib.Path(myosu.__file__).parent.rglob("*.py")):
            code.update(file.read_bytes())
        return {"Python": platform.python_version(), "Myosu": myosu.__version__, "Myosu's code": code.hexdigest()[:12]}
    return versions


def _first_lines(error: Exception) -> str:
    """What a person needs of an error of Ray's: they are long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:300]}"


# --- on the nodes


class _NodeActor:
    """The ``start``-th actor of the run, in a process of Ray's."""

    def __init__(self, config_json: dict[str, Any], given: bytes, agreed: frozenset[str], start: int) -> None:
        self.config_json, self.given, self.agreed, self.start = config_json, given, agreed, start
        self.actor: Actor | None = None

    def play(self, version: int, weights: bytes | None) -> Report:
        """Play for a report, by ``weights`` if there are new ones. What is wrong here comes back in the report."""
        try:
            actor = self.actor = self.actor or self.make()
            if weights is not None:
                actor.load_weights(load(weights), version)
            began, experience = time.monotonic(), actor.step()
            while (passed := time.monotonic() - began) < REPORT_SECONDS and (
                    passed < REPORT_LEAST_SECONDS or len(experience.episodes) < REPORT_EPISODES):
                experience.extend(actor.step())
            return Report(version, experience, env_notices(actor))
        except UserError as error:
            return Report(-1, error=str(error), mendable=True)
        except Exception:
            return Report(-1, error=traceback.format_exc())

    def make(self) -> Actor:
        trust.agree(*self.agreed)
        prepare_process(derive_seed(self.config_json["train"]["seed"], 4, self.start))
        unpack_given(self.given)
        if "device" in self.config_json["algorithm_config"]:
            self.config_json["algorithm_config"]["device"] = "cpu"  # a core was asked for; the card is the learner's
        return make_actor(RunConfig.from_json(self.config_json), self.start)
