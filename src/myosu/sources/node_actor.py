"""An actor on a node of a Ray cluster."""

from __future__ import annotations

import pickle
import time
import traceback
from typing import Any

from safetensors.torch import load

from myosu import trust
from myosu.algorithms.interface import Actor
from myosu.envs.python_objects import unpack_object
from myosu.errors import UserError
from myosu.randomness import derive_seed, prepare_process
from myosu.runs.config import RunConfig
from myosu.sources.actors import env_notices, make_actor
from myosu.sources.processes import REPORT_SECONDS, Report
from myosu.sources.relay import Delivery

#: An actor reports once it has this many episodes and this many seconds have passed, because a call of Ray takes as
#: long as several episodes; after ``REPORT_SECONDS`` it reports in any case.
REPORT_EPISODES, REPORT_LEAST_SECONDS = 32, 0.1


class NodeActor:
    """The ``start``-th actor of the run, in a Ray worker process."""

    def __init__(self, config_json: dict[str, Any], packed_object: bytes, agreed: frozenset[str], start: int) -> None:
        self.config_json, self.packed_object, self.agreed, self.start = config_json, packed_object, agreed, start
        self.actor: Actor | None = None

    def play(self, version: int, weights: bytes | None) -> Delivery:
        """Load ``weights``, if given, and play until a report is due. Errors are returned in the report."""
        report = self.report(version, weights)
        return Delivery(pickle.dumps(report, pickle.HIGHEST_PROTOCOL), report.version,
                        report.experience.steps if report.experience else 0, report.error, report.fixable)

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
            return Report(-1, error=str(error), fixable=True)
        except Exception:
            return Report(-1, error=traceback.format_exc())

    def make(self) -> Actor:
        trust.agree(*self.agreed)
        prepare_process(derive_seed(self.config_json["train"]["seed"], 4, self.start))
        unpack_object(self.packed_object)
        if "device" in self.config_json["algorithm_config"]:
            self.config_json["algorithm_config"]["device"] = "cpu"  # Ray reserved one core; the GPU is the learner's
        return make_actor(RunConfig.from_json(self.config_json), self.start)
