"""A study: a hyperparameter search with Optuna, followed by an unbiased measurement of its best trial.

    study.json    the plan; a resumed study must have the same plan
    study.db      Optuna's trials (SQLite)          trials/   the runs of the search, without their replay
    preset.toml   the settings that were found      final/    the runs of the final measurement
    report.json   figures and the budget spent      study.png

The best score of a search is the maximum of many noisy numbers, so it is biased upwards. Therefore the settings found
and the preset's are both trained again, from seeds that the search never used.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from myosu.algorithms import load_algorithm
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.evaluation.report import evaluation_report
from myosu.evaluation.statistics import mean_interval
from myosu.players.agent import load_agent
from myosu.presets import load_preset
from myosu.randomness import derive_seed
from myosu.runs.config import RunConfig
from myosu.runs.files import hold_own_folder, write_json, writing_to
from myosu.runs.reading import load_json
from myosu.training.callbacks import Callback
from myosu.training.start import configure, create_run, require_possible
from myosu.training.trainer import train
from myosu.tuning.space import Space, inside, suggest

#: Number of evaluations in a whole trial; a trial may be pruned after each.
EVALUATIONS = 5
#: Number of trials that are trained to the end before any is compared with their median.
WHOLE_AT_FIRST = 4
#: Number of failures without a success that ends the study.
FAILURES = 5
#: Purposes of seeds; seeds for different purposes differ.
SEARCH, FINAL, JUDGE = range(3)


@dataclass(frozen=True)
class Plan:
    """The plan of a study.

    env_steps: length of each trial. evaluation_opponent, evaluation_games: of the evaluations by which trials are
    compared; by default those of a training.
    """

    game: str
    algorithm: str
    space: Space
    env_steps: int
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    evaluation_opponent: str = "random"
    evaluation_games: int | None = None
    seed: int = 0

    def base(self) -> dict[str, Any]:
        """The settings from which the study starts: the preset for the environment."""
        environment = load_environment(self.game, self.env_kwargs)
        return load_preset(self.algorithm, environment, load_algorithm(self.algorithm).Config)

    def configure(self, settings: Mapping[str, Any], seed: int) -> RunConfig:
        """The configuration of a training with ``settings``. Raises UserError."""
        made = load_algorithm(self.algorithm).Config(**settings)
        # The number of updates that the replay ratio allows determines how often trials are evaluated.
        updates = made.replay_ratio * self.env_steps / made.batch_size
        return configure(self.game, self.algorithm, {
            **settings, "env_steps": self.env_steps, "seed": seed,
            "evaluate_every": max(1, int(updates / EVALUATIONS)), "evaluation_opponent": self.evaluation_opponent,
            "evaluation_games": self.evaluation_games}, env_kwargs=self.env_kwargs)

    def check(self) -> None:
        """Raise UserError if no training of the study can start."""
        require_possible(self.configure(self.base(), self.seed))


@dataclass(frozen=True)
class Scores:
    """Mean rewards of the final runs, one per training seed."""

    tuned: list[float]
    preset: list[float]

    @property
    def difference(self) -> tuple[float, tuple[float, float]]:
        """Tuned minus preset: mean and 95 % interval over the pairs of runs with the same seed."""
        pairs = np.subtract(self.tuned, self.preset)
        return float(pairs.mean()), mean_interval(pairs)


class Study:
    """One study in ``folder``, locked by this process until ``close``. say: called with progress messages.

    Raises UserError if the folder holds another study or something else, or another process has locked it.
    """

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None] = print) -> None:
        optuna = _import_optuna()
        self.plan, self.folder, self.say = plan, folder.absolute(), say
        self._lock = hold_own_folder(folder, "study.json", "searched", f"{folder} exists and holds no study. Choose "
                                     "another folder with --study.")
        try:
            self._agree()
        except UserError:
            self.close()
            raise
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna = optuna
        self.trials = optuna.create_study(
            study_name="myosu", storage=f"sqlite:///{self.folder / 'study.db'}", direction="maximize",
            load_if_exists=True, sampler=optuna.samplers.TPESampler(seed=plan.seed, n_startup_trials=8),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=WHOLE_AT_FIRST, n_warmup_steps=1))
        for trial in self._all("RUNNING"):  # left by a process that was killed
            self.trials.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if not self.trials.get_trials():
            kind = load_algorithm(plan.algorithm).Config
            start = {item.name: getattr(kind(**plan.base()), item.name) for item in dataclasses.fields(kind)}
            self.trials.enqueue_trial(inside(plan.space, start))
        # The sampler's seed depends on the number of trials; otherwise a resumed study would repeat its first draws.
        self.trials.sampler = optuna.samplers.TPESampler(
            seed=derive_seed(plan.seed, SEARCH, len(self.trials.get_trials())), n_startup_trials=8)

    def close(self) -> None:
        os.close(self._lock)

    def search(self, trials: int) -> None:
        """Run trials until there are ``trials`` in total, including those of earlier calls and failed ones."""
        while len(self.done()) < trials:
            failed = self._all("FAIL")
            if len(failed) >= FAILURES and not self._all("COMPLETE"):
                why = next((trial.user_attrs["error"] for trial in reversed(failed) if "error" in trial.user_attrs), "")
                raise UserError(f"{len(failed)} trials failed and none succeeded. The last one: {why}")
            self._try()

    def done(self) -> list[Any]:
        """Optuna's trials that have ended. Interrupted trials do not count."""
        return [*self._all("COMPLETE"), *self._all("PRUNED"),
                *(trial for trial in self._all("FAIL") if "error" in trial.user_attrs)]

    def best(self) -> tuple[Any, dict[str, Any]]:
        """The best trial, and its settings merged into the preset."""
        if not self._all("COMPLETE"):
            raise UserError("No trial completed its training: there is nothing to choose from. Raise --trials.")
        best = self.trials.best_trial
        return best, {**self.plan.base(), **best.user_attrs["settings"]}

    def measure(self, seeds: int) -> Scores:
        """Train the best settings and the preset, each from ``seeds`` seeds, and evaluate the agents.

        The seeds of training and evaluation differ from those of the search. Finished measurements are reused.
        """
        best, settings = self.best()
        names = {f"trial-{best.number:04d}": settings, "preset": self.plan.base()}
        tuned, preset = ([self._final(f"{name}-{k}", chosen, k) for k in range(seeds)]
                         for name, chosen in names.items())
        return Scores(tuned, preset)

    def spent(self) -> dict[str, Any]:
        """Runs, environment steps and seconds of training, for the search and for the final measurement."""
        search = [trial.user_attrs for trial in self.trials.get_trials() if "seconds" in trial.user_attrs]
        final = [load_json(file) for file in sorted((self.folder / "final").glob("*/result.json"))]
        return {name: {"runs": len(runs), "env_steps": sum(run["env_steps"] for run in runs),
                       "seconds": round(sum(run["seconds"] for run in runs), 1)}
                for name, runs in (("search", search), ("final", final))}

    def _try(self) -> None:
        """Run one trial."""
        trial, state = self.trials.ask(), self.optuna.trial.TrialState
        settings = suggest(trial, self.plan.space)
        trial.set_user_attr("settings", settings)
        folder = self.folder / "trials" / f"{trial.number:04d}"
        shutil.rmtree(folder, ignore_errors=True)
        pruning, begun = Pruning(trial, self.plan.env_steps), time.monotonic()
        try:
            result = self._train({**self.plan.base(), **settings}, derive_seed(self.plan.seed, SEARCH, trial.number),
                                 folder, pruning)
        except UserError as error:
            trial.set_user_attr("error", str(error))
            self.trials.tell(trial, state=state.FAIL)
            self.say(f"trial {trial.number}: failed: {error}")
            return
        finally:
            shutil.rmtree(folder / "replay", ignore_errors=True)
        trial.set_user_attr("env_steps", result.env_steps)
        trial.set_user_attr("seconds", round(time.monotonic() - begun, 2))
        score = result.evaluation["mean_reward"] if result.evaluation else None
        if pruning.pruned:
            self.trials.tell(trial, state=state.PRUNED)
        elif score is None:
            trial.set_user_attr("error", "it was not evaluated")
            self.trials.tell(trial, state=state.FAIL)
        else:
            self.trials.tell(trial, score)
        what = "pruned at" if pruning.pruned else "mean reward"
        self.say(f"trial {trial.number}: {what} {score if score is None else format(score, '.4g')}  "
                 + "  ".join(f"{name}={_short(value)}" for name, value in settings.items()))

    def _final(self, name: str, settings: Mapping[str, Any], k: int) -> float:
        folder = self.folder / "final" / name
        file = folder / "result.json"
        if not file.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            result = self._train(settings, derive_seed(self.plan.seed, FINAL, k), folder)
            agent, environment, _ = load_agent(folder)
            games = 200 if environment.spec.num_players == 2 else 100
            report = evaluation_report(agent, environment, name, self.plan.evaluation_opponent, games,
                                       seed=derive_seed(self.plan.seed, JUDGE, k))
            write_json(file, {"mean_reward": report["mean_reward"], "env_steps": result.env_steps,
                              "seconds": round(result.seconds, 2)})
            shutil.rmtree(folder / "replay", ignore_errors=True)
        score = float(load_json(file)["mean_reward"])
        self.say(f"{name}: mean reward {score:.4g}")
        return score

    def _train(self, settings: Mapping[str, Any], seed: int, folder: Path, *callbacks: Callback) -> Any:
        return train(create_run(self.plan.configure(settings, seed), folder), quiet=True, callbacks=callbacks)

    def _all(self, state: str) -> list[Any]:
        return self.trials.get_trials(states=(getattr(self.optuna.trial.TrialState, state),))

    def _agree(self) -> None:
        """Write the plan, or check that the folder was created for the same plan."""
        file = self.folder / "study.json"
        now = json.loads(json.dumps(dataclasses.asdict(self.plan)))
        if not file.is_file():
            write_json(file, now)
            return
        then = load_json(file)
        for name, value in now.items():
            if (before := then.get(name)) != value:
                if isinstance(before, dict) and isinstance(value, dict):  # name the setting of the space
                    one = next(key for key in {**before, **value} if before.get(key) != value.get(key))
                    name, before, value = f"{name}.{one}", before.get(one), value.get(one)
                raise UserError(f"The study in {self.folder} has {name} = {_short(before)}, now it is {_short(value)}: "
                                "its trials cannot be compared. Continue with the same value, or choose another folder "
                                "with --study.")


class Pruning(Callback):
    """Reports evaluations to the trial. Stops a training that is worse than the median of the other trials at the same
    point."""

    def __init__(self, trial: Any, env_steps: int) -> None:
        self._trial, self._env_steps, self._mark = trial, env_steps, 0
        self.pruned = False

    def on_evaluation(self, evaluation: dict[str, Any]) -> bool | None:
        mark = round(EVALUATIONS * evaluation["env_steps"] / self._env_steps)
        if self.pruned or mark <= self._mark:
            return None
        self._mark = mark
        self._trial.report(evaluation["mean_reward"], mark)
        self.pruned = mark < EVALUATIONS and self._trial.should_prune()
        return not self.pruned


def write_preset(settings: Mapping[str, Any], file: Path, comment: str) -> None:
    """Write the settings in the form that ``myosu train --preset`` accepts."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    with writing_to(file):
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("myosu tune needs Optuna: pip install 'myosu[tune]'") from None
    return optuna


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
