"""Actors on the machines of a Ray cluster; the learner and the evaluator run on the machine of the command.

A separate process, the *relay* (``relay.py``), talks to Ray. To the learner it looks like an actor process: it sends
reports over a pipe and gets newer weights in reply, or no reply while the learner is behind. Ray is therefore never
imported in the learner's process, and a failure of Ray or of the network never blocks the learner. A relay that dies is
replaced, together with its actors.
"""

from __future__ import annotations

import importlib.util
import pickle
import socket
import threading
from typing import Any

from myosu.algorithms import algorithm_of
from myosu.envs.python_objects import pack_object
from myosu.errors import UserError
from myosu.processes import spawn
from myosu.runs.config import RunConfig
from myosu.sources.processes import ActorProcesses
from myosu.sources.relay import run_relay

#: Timeout in seconds for connecting to the address.
ANSWER_SECONDS = 3.0


def require_cluster(config: RunConfig, address: str) -> None:
    """Raises UserError if a run with this configuration cannot have its actors in the cluster at ``address``:
    HOST:PORT of its head, or "auto" for the cluster that this machine belongs to."""
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


class ClusterActors(ActorProcesses):
    """Actors in the cluster at ``address`` (``source.Source``). count: their greatest number, by default one per core
    except the learner's. Actors start and end as nodes join and leave."""

    who = "The connection to the cluster"

    def __init__(self, config: RunConfig, address: str, count: int | None) -> None:
        super().__init__(config, 1)
        self._address, self._wanted = address, count
        self._games_at_once, self.slack = self.slack, 0
        self._relays, self._joined = 0, False
        self._acts_here = False  # the relay numbers the actors, so it would play the same games as one of them

    def _start(self) -> None:
        key, self._relays = self._relays, self._relays + 1
        self._processes[key], connection = spawn(
            run_relay, self._config.to_json(), pack_object(self._config.game), self._address, self._wanted, self.starts,
            self._joined)
        threading.Thread(target=self._serve, args=(key, connection), daemon=True).start()

    def _receive(self, harvest: Any) -> None:
        for packed in harvest.reports:
            super()._receive(pickle.loads(packed))
        self._notices += harvest.notices
        self.starts = max(self.starts, harvest.starts)
        self.restarts += harvest.lost
        if harvest.nodes is not None:
            self.nodes, self.slack = harvest.nodes, harvest.slots * self._games_at_once
            self._joined = self._joined or bool(self.nodes)
