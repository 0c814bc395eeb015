"""Finds out why an agent does not learn: checks of games and environments, judgements on runs, experiments.

The package can be called: ``myosu.doctor(run_or_env)`` is ``verdict.examine``.
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
        """Find out why a run does not learn, or what is wrong with an environment.

        what: the folder of a run, or what ``train`` returned; or an environment, as ``myosu.check`` takes it.
        minutes: limit of the experiments with the run's agent and its environment; 0 for none.
        env_kwargs: arguments for the environment. say: hears what is being done.

        Returns a ``Verdict``: ``findings`` (the gravest first), what was ``healthy``, and what is ``missing``. Printed,
        it ends in the likeliest cause. Changes nothing of the run. Raises UserError where there is nothing to examine.
        """
        from myosu.doctor.verdict import examine

        return examine(what, minutes, env_kwargs or {}, say)


sys.modules[__name__].__class__ = _Doctor
