"""The process of a run that talks to Ray. It imports Ray, but neither torch nor Numba.

Weights are put into Ray's object store once, and Ray copies them to each machine once. Every actor has one call in
flight, which carries newer weights if the actor lacks them and returns a report. The next call is made as soon as the
report arrives, before the learner has seen it, so that the actor does not wait for the learner's process. A lost report
is never requested again, so nothing is counted twice.

A report travels as bytes that only the learner's process unpickles: Ray's own pickler is slower, and the relay needs
only the fields of ``Delivery``.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from myosu import trust
from myosu.errors import UserError
from myosu.processes import end_with, exit_on_sigterm
from myosu.sources import MAX_FAILURES

#: Seconds between two polls for the nodes of the cluster, and length of the window of their rates.
NODES_SECONDS, RATE_SECONDS = 1.0, 5.0
#: Greatest number of seconds that the relay waits for reports of actors.
TURN_SECONDS = 0.2
#: Seconds between two attempts to reconnect to a lost cluster.
RETRY_SECONDS = 5.0
#: Timeout in seconds for joining a cluster at first. Ray itself tries for minutes if another server answers.
JOIN_SECONDS = 60.0


class Delivery(NamedTuple):
    """A pickled report, and the parts of it that the relay needs. version, error, fixable: as in ``Report``.
    steps: environment steps in it."""

    packed: bytes
    version: int
    steps: int
    error: str
    fixable: bool


class Harvest(NamedTuple):
    """A report of the relay. version: of its weights. reports: pickled reports of actors since the last harvest.
    starts: actors ever started by the run. slots: actors that play now. lost: actors replaced since the last harvest.
    error, fixable: as in ``Report``. nodes: for each machine, by address, ``actors``, ``env_steps_per_second`` and the
    mean ``weights_age`` in updates."""

    version: int
    reports: tuple[bytes, ...] = ()
    starts: int = 0
    slots: int = 0
    lost: int = 0
    notices: tuple[str, ...] = ()
    nodes: dict[str, dict[str, float]] | None = None
    error: str = ""
    fixable: bool = False


def run_relay(connection: Connection, parent: int, config_json: dict[str, Any], packed_object: bytes, address: str,
              wanted: int | None, starts: int, again: bool) -> None:
    end_with(parent)
    exit_on_sigterm()
    late = threading.Timer(JOIN_SECONDS, _give_up, (connection, address))
    late.daemon = True
    try:
        if not again:
            late.start()
        while not _connected(address, patient=again):
            connection.send(Harvest(-1, starts=starts, nodes={}, notices=(
                f"The cluster does not answer; next try in {RETRY_SECONDS:g} s.",)))
            connection.recv()
            time.sleep(RETRY_SECONDS)
        late.cancel()
        crew = _Crew((config_json, packed_object, trust.agreed()), wanted, starts)
        while True:
            connection.send(crew.turn())
            if (reply := connection.recv()) is not None:
                crew.take_weights(*reply)
    except (EOFError, BrokenPipeError):
        pass  # the learner has ended, or closed the connection to end this process
    except UserError as error:
        connection.send(Harvest(-1, error=str(error), fixable=True))
    except Exception:
        connection.send(Harvest(-1, error=traceback.format_exc()))


def _give_up(connection: Connection, address: str) -> None:
    """End the process with an error, because the main thread is still in ``_connected``."""
    connection.send(Harvest(-1, error=f"cluster = {address}: the server there did not let this machine join within "
                                      f"{JOIN_SECONDS:g} s. Is it the port of a Ray cluster's head, of this version of "
                                      "Ray? (docs/scale.md)", fixable=True))
    os._exit(1)


def _connected(address: str, patient: bool) -> bool:
    """Join the cluster. Returns whether that succeeded; without ``patient``, raises UserError if it did not."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Ray's log would mix with the learner's output; errors are raised
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray has no common base class of its errors here
        if patient:
            return False
        why = ("no Ray runs on this machine." if address == "auto" and isinstance(error, ConnectionError)
               else _first_lines(error))
        raise UserError(f"cluster = {address}: {why} This machine must belong to the cluster and have its token: "
                        "sh scripts/cluster.sh join HOST:PORT (docs/scale.md)") from error
    exit_on_sigterm()  # Ray has replaced the handler
    return True


@dataclass
class _Node:
    """A machine of the cluster. steps: environment steps there since ``rate`` was last computed."""

    address: str
    cores: int
    actors: int = 0
    steps: int = 0
    rate: float = 0.0


@dataclass
class _Remote:
    """An actor. sent: version of the newest weights sent to it. played: version of the weights of its last report.
    delivered: whether it has sent a report."""

    handle: Any
    node: str
    sent: int = -1
    played: int = -1
    delivered: bool = False


class _Crew:
    """All actors in the cluster and their calls. setup: the arguments of an actor, without its number."""

    def __init__(self, setup: tuple[Any, ...], wanted: int | None, starts: int) -> None:
        import ray

        self.ray, self.setup, self.wanted, self.starts = ray, setup, wanted, starts
        self.home = ray.get_runtime_context().get_node_id()
        self.nodes: dict[str, _Node] = {}
        self.refused: set[str] = set()
        self.calls: dict[Any, _Remote] = {}
        self.version = -1
        self.weights: Any = None  # a reference to an object in Ray's store
        self.notices: list[str] = []
        self.lost = self.failures = 0
        self.looked_at = self.rated_at = -1e9
        self.remote_actor = ray.remote(num_cpus=1, max_restarts=0)(_NodeActor)

    def take_weights(self, version: int, data: bytes) -> None:
        self.version, self.weights = version, self.ray.put(data)

    def turn(self) -> Harvest:
        """Start actors on free cores and collect the reports that have arrived."""
        if time.monotonic() - self.looked_at >= NODES_SECONDS:
            self.look_at_nodes()
        if self.weights is None:
            return Harvest(self.version, starts=self.starts)
        for remote in self.new_actors():
            self.call(remote)
        reports = tuple(self.take_reports())
        lost, self.lost = self.lost, 0
        notices, self.notices = tuple(self.notices), []
        return Harvest(self.version, reports, self.starts, sum(node.actors for node in self.nodes.values()), lost,
                       notices, self.figures())

    def call(self, remote: _Remote) -> None:
        weights = self.weights if remote.sent != self.version else None
        self.calls[remote.handle.play.remote(self.version, weights)] = remote
        remote.sent = self.version

    def look_at_nodes(self) -> None:
        """Update the list of nodes. A new node is used only if it has the same Python and Myosu."""
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
        """What is wrong with a node's Python or Myosu, in words; "" if nothing is."""
        there, here = self.ask_versions(node), _versions()()
        if isinstance(there, str):
            return f"does not answer: {there}"
        if there["Myosu"] is None:
            return "has no Myosu. Install this machine's version in the Python that runs Ray."
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
        """Start an actor for each free core, on the least loaded node first."""
        while self.nodes:
            key, node = min(self.nodes.items(), key=lambda item: (item[1].actors + 1) / max(item[1].cores, 1e-9))
            if node.actors >= node.cores or sum(each.actors for each in self.nodes.values()) == self.wanted:
                return
            handle = self.remote_actor.options(scheduling_strategy=self.only_on(key)).remote(*self.setup, self.starts)
            self.starts += 1
            node.actors += 1
            yield _Remote(handle, key)

    def take_reports(self) -> Iterator[bytes]:
        """Collect the reports of actors, waiting up to ``TURN_SECONDS`` for the first, and call these actors again."""
        if not self.calls:
            time.sleep(TURN_SECONDS)
            return
        ready, waiting = self.ray.wait(list(self.calls), timeout=TURN_SECONDS)
        if ready and waiting:
            ready += self.ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
        for call in ready:
            remote = self.calls.pop(call)
            try:
                delivery: Delivery = self.ray.get(call)
            except self.ray.exceptions.RayError as error:
                self.replace(remote, _first_lines(error))
                continue
            if delivery.error:
                if delivery.fixable:
                    raise UserError(f"On the node {self.address_of(remote)}: {delivery.error}")
                self.replace(remote, delivery.error.strip().splitlines()[-1])
                continue
            remote.played, remote.delivered = delivery.version, True
            self.failures = 0
            if remote.node in self.nodes:
                self.nodes[remote.node].steps += delivery.steps
                self.call(remote)
            yield delivery.packed

    def replace(self, remote: _Remote, reason: str) -> None:
        """Remove a failed actor; a new one will start on this node or another one."""
        self.ray.kill(remote.handle)  # it may still run on a node whose connection was lost
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
        """Figures of each machine for the metrics, by its address."""
        seconds = time.monotonic() - self.rated_at
        found: dict[str, dict[str, float]] = {}
        for key, node in self.nodes.items():
            if seconds >= RATE_SECONDS:
                node.rate, node.steps = node.steps / seconds, 0
            ages = [self.version - remote.played for remote in self.calls.values()
                    if remote.node == key and remote.delivered]
            found[node.address] = {"actors": node.actors, "env_steps_per_second": round(node.rate, 2),
                                   "weights_age": round(sum(ages) / len(ages), 1) if ages else 0.0}
        if seconds >= RATE_SECONDS:
            self.rated_at = time.monotonic()
        return found


def _versions() -> Any:
    """A function that returns the versions of Python and Myosu. Ray sends its code to the node, because Myosu may be
    missing or different there."""
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
    """The class and the first lines of one of Ray's errors, which are long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:300]}"


class _NodeActor:
    """The class that Ray starts on a node. It imports ``NodeActor``, and with it torch and Numba, only there, so that
    the relay does not."""

    def __init__(self, *setup: Any) -> None:
        from myosu.sources.node_actor import NodeActor

        self.node_actor = NodeActor(*setup)

    def play(self, version: int, weights: bytes | None) -> Delivery:
        return self.node_actor.play(version, weights)
