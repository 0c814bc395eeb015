"""Diagnoses why an agent does not learn: checks of games and environments, judgements of runs, short experiments.

The package itself is callable: ``myosu.doctor(run_or_env)`` is ``verdict.examine``.
"""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from myosu.doctor.check_env import check_vector_env
from myosu.doctor.check_game import check_game
from myosu.doctor.check_gym import check_gym
from myosu.doctor.finding import Finding

if TYPE_CHECKING:
    from myosu.doctor.verdict import Verdict

__all__ = ["Finding", "check_game", "check_gym", "check_vector_env"]


class _Doctor(ModuleType):
    def __call__(self, what: Any, minutes: float = 1.0, *, env_kwargs: Mapping[str, Any] | None = None,
                 say: Callable[[str], None] = print) -> "Verdict":
        """Diagnose why a run does not learn, or what is wrong with an environment.

        what: a run's folder, the result of ``train``, or an environment in any form that ``myosu.check`` accepts.
        minutes: time limit for the experiments with the run's agent and environment; 0 skips them.
        env_kwargs: arguments for the environment. say: called with progress messages.

        Returns a ``Verdict`` with ``findings`` (the most severe first), what was ``healthy`` and what is ``missing``.
        Printed, it ends with the most likely cause. The run is not changed. Raises UserError if there is nothing to
        examine.
        """
        from myosu.doctor.verdict import examine

        return examine(what, minutes, env_kwargs or {}, say)


sys.modules[__name__].__class__ = _Doctor
