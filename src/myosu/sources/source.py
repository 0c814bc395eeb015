"""The interface of a source of experience, as the training loop uses it."""

from __future__ import annotations

from typing import Protocol

from myosu.algorithms.interface import Experience
from myosu.runs.state import State, Weights


class Source(Protocol):
    """Supplies experience to the learner, from actors that play or from recorded games.

    exhausted: no more experience will come; the run ends when the learner has used all of it.
    parallel: it works on other cores while the learner learns.
    slack: greatest number of positions that may still arrive after ``set_paused``.
    starts, restarts: actors ever started by the run; those of them that replaced a dead one.
    env_restarts: worker processes of the actors' environments that were replaced.
    nodes: figures of each machine of a cluster, by its address; empty without a cluster.
    """

    exhausted: bool
    parallel: bool
    slack: int
    starts: int
    restarts: int
    env_restarts: int
    nodes: dict[str, dict[str, float]]

    def publish(self, weights: Weights, version: int) -> None:
        """Act with these weights from now on. The first call starts the actors."""
        ...

    def wants_weights(self, waiting: bool) -> bool:
        """Whether the source can use newer weights now. waiting: whether the learner waits for experience."""
        ...

    def collect(self, wait: bool) -> list[Experience]:
        """The experience since the last call. wait: the learner cannot continue without new experience."""
        ...

    def set_paused(self, paused: bool) -> None:
        """Pause the source if ``paused``, because the learner is behind; otherwise let it continue."""
        ...

    def waits(self) -> dict[str, float]:
        """Seconds so far that the learner waited for experience ("learner_wait"), that its process acted instead
        ("learner_act"), and that an actor waited for the learner ("actor_wait", the mean over the actors). Empty if the
        source is not ``parallel``."""
        ...

    def notices(self) -> list[str]:
        """New messages for the user; each is returned once."""
        ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None:
        """Call it before the first ``publish``. The state may come from another kind of source of the same run."""
        ...

    def close(self) -> None: ...
