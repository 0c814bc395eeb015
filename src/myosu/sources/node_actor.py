"""An actor on a node of a cluster."""

from __future__ import annotations

import pickle
import time
import traceback
from typing import Any

from safetensors.torch import load

from myosu import trust
from myosu.algorithms.interface import Actor
from myosu.envs.given import unpack_given
from myosu.errors import UserError
from myosu.randomness import derive_seed, prepare_process
from myosu.runs.config import RunConfig
from myosu.sources.actors import env_notices, make_actor
from myosu.sources.processes import REPORT_SECONDS, Report
from myosu.sources.relay import Delivery

#: An actor reports after so many episodes and seconds, for a call of Ray costs as much as some episodes; it reports
#: anyway after ``REPORT_SECONDS``.
REPORT_EPISODES, REPORT_LEAST_SECONDS = 32, 0.1


class NodeActor:
    """The ``start``-th actor of the run, in a process of Ray's."""

    def __init__(self, config_json: dict[str, Any], given: bytes, agreed: frozenset[str], start: int) -> None:
        self.config_json, self.given, self.agreed, self.start = config_json, given, agreed, start
        self.actor: Actor | None = None

    def play(self, version: int, weights: bytes | None) -> Delivery:
        """Play for a report, by ``weights`` if there are new ones. What is wrong here comes back in the report."""
        report = self.report(version, weights)
        return Delivery(pickle.dumps(report, pickle.HIGHEST_PROTOCOL), report.version,
                        report.experience.steps if report.experience else 0, report.error, report.mendable)

    def report(self, version: int, weights: bytes | None) -> Report:
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
