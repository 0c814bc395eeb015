"""Where experience comes from, as the training loop sees it."""

from __future__ import annotations

from typing import Protocol

from myosu.algorithms.interface import Experience
from myosu.runs.state import State, Weights


class Source(Protocol):
    """Gives experience to the learner: actors that play, or games that were recorded.

    exhausted: nothing will come any more; the run ends when the learner has used what there is.
    parallel: it works on other cores while the learner learns.
    slack: positions that may still come in after it was held back.
    starts, restarts: actors ever started by the run, and those of them that replaced one that had died.
    env_restarts: worker processes of the actors' environments that were replaced.
    nodes: figures of each machine of a cluster, by its address; empty where there is none.
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
        """Whether newer weights would be of use now; ``waiting``: the learner waits for experience."""
        ...

    def collect(self, wait: bool) -> list[Experience]:
        """What has come in since the last call. With ``wait``, something new is wanted before the learner can go on."""
        ...

    def hold(self, back: bool) -> None:
        """Whether to stop for now, because the learner is behind."""
        ...

    def waits(self) -> dict[str, float]:
        """Seconds so far that the learner waited for experience ("learner_wait"), that its process acted meanwhile
        ("learner_act"), and that an actor waited for the learner ("actor_wait", the mean of the actors); of sources
        that are not ``parallel`` nothing."""
        ...

    def notices(self) -> list[str]:
        """What a person should know, once."""
        ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None:
        """Before the first ``publish``; the state may be that of another kind of source for the same run."""
        ...

    def close(self) -> None: ...
