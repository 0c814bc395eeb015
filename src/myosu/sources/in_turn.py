"""An actor that takes turns with the learner in one process."""

from __future__ import annotations

from myosu.algorithms.interface import Actor, Experience
from myosu.errors import UserError
from myosu.runs.config import RunConfig
from myosu.runs.state import State, Weights
from myosu.sources.actors import env_notices, make_actor


class ActorInTurn:
    """One actor, which takes a step whenever the learner waits for experience (``source.Source``)."""

    exhausted = parallel = False
    slack = 0

    def __init__(self, config: RunConfig) -> None:
        self.starts = self.restarts = self.env_restarts = 0
        self.nodes: dict[str, dict[str, float]] = {}
        self._config = config
        self._actor: Actor | None = None

    def publish(self, weights: Weights, version: int) -> None:
        actor = self._actor or self._start()
        actor.load_weights(weights, version)

    def wants_weights(self, waiting: bool) -> bool:
        return waiting

    def collect(self, wait: bool) -> list[Experience]:
        if not wait or self._actor is None:
            return []
        try:
            return [self._actor.step()]
        except UserError:  # its environments are in the middle of a step, so a resumed run makes a new actor
            actor, self._actor = self._actor, None
            actor.env.close()
            raise

    def set_paused(self, paused: bool) -> None:
        """Does nothing: the actor steps only when the learner asks for it."""

    def waits(self) -> dict[str, float]:
        return {}

    def notices(self) -> list[str]:
        found = env_notices(self._actor) if self._actor else ()
        self.env_restarts += len(found)
        return list(found)

    def state_dict(self) -> State:
        state: State = {"starts": self.starts, "restarts": self.restarts}
        return {**state, "actor": self._actor.state_dict()} if self._actor else state

    def load_state_dict(self, state: State) -> None:
        self.starts, self.restarts = state["starts"], state["restarts"]
        if "actor" in state:
            self.starts -= 1
            self._start().load_state_dict(state["actor"])

    def close(self) -> None:
        if self._actor:
            self._actor.env.close()

    def _start(self) -> Actor:
        self._actor, self.starts = make_actor(self._config, self.starts), self.starts + 1
        return self._actor
