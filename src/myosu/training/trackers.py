"""Logging of a run to external experiment trackers: Weights & Biases, Trackio, MLflow.

The run's folder stays the primary record. A tracker gets the numbers that are in ``metrics.jsonl``, and
``trackers.json`` keeps its id of the run, so that a resumed run continues there. TensorBoard needs none of this: every
run has its files. If a tracker fails, a warning is printed once and it is not used any more; training continues.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from myosu.errors import UserError
from myosu.runs.files import write_json
from myosu.runs.reading import FileName, read_json
from myosu.runs.run import Run
from myosu.training.callbacks import Callback

_log = logging.getLogger("myosu")


class Backend(Protocol):
    """One tracker. Its constructor takes the run's settings (plain names and values), the run's name, and the id that
    the tracker gave to this run earlier, "" if it is new. id: the tracker's id of the run."""

    id: str

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Log numbers by name. step: number of updates."""

    def finish(self) -> None:
        """Send buffered numbers and close the run, because training has ended."""


class WeightsAndBiases:
    """Weights & Biases (``wandb``). The project is WANDB_PROJECT or "myosu". WANDB_MODE=offline logs locally only."""

    def __init__(self, settings: dict[str, Any], name: str, known: str) -> None:
        import wandb

        self._run = wandb.init(project=_project("WANDB_PROJECT"), name=name, config=settings, id=known or None,
                               resume="allow")
        self.id = str(self._run.id)

    def log(self, numbers: dict[str, float], step: int) -> None:
        # Evaluations arrive later than their updates, and W&B drops numbers of a step before its latest one.
        self._run.log({**numbers, "update": step})

    def finish(self) -> None:
        self._run.finish()


class Trackio:
    """Trackio (``trackio``), a local tracker with W&B's interface. The project is TRACKIO_PROJECT or "myosu"."""

    def __init__(self, settings: dict[str, Any], name: str, known: str) -> None:
        import trackio

        self.id = known or name  # Trackio identifies runs by name
        self._run = trackio.init(project=_project("TRACKIO_PROJECT"), name=self.id, config=settings, resume="allow")

    def log(self, numbers: dict[str, float], step: int) -> None:
        self._run.log({**numbers, "update": step})

    def finish(self) -> None:
        self._run.finish()


class MLflow:
    """MLflow (``mlflow``). MLFLOW_TRACKING_URI sets the server, MLFLOW_EXPERIMENT_NAME the experiment (or "myosu")."""

    def __init__(self, settings: dict[str, Any], name: str, known: str) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        experiment = _project("MLFLOW_EXPERIMENT_NAME")
        found = self._client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else self._client.create_experiment(experiment)
        self.id = known or self._client.create_run(place, run_name=name).info.run_id
        if known:
            self._client.update_run(known, status="RUNNING")
        else:
            for key, value in settings.items():
                self._client.log_param(self.id, key, str(value)[:500])

    def log(self, numbers: dict[str, float], step: int) -> None:
        for key, value in numbers.items():
            self._client.log_metric(self.id, key, value, step=step)

    def finish(self) -> None:
        self._client.set_terminated(self.id)


BACKENDS: dict[str, Any] = {"wandb": WeightsAndBiases, "trackio": Trackio, "mlflow": MLflow}
TRACKERS = tuple(BACKENDS)


def require_tracker(name: str | None) -> None:
    """Raises UserError unless ``name`` is None or a tracker whose package is installed."""
    if name is None:
        return
    if name not in BACKENDS:
        raise UserError(f"There is no tracker {name!r}. There are: {', '.join(TRACKERS)}. TensorBoard's files are in "
                        "every run: tensorboard --logdir runs")
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"The tracker {name} needs its package ({error}): pip install 'myosu[{name}]'") from None


@contextmanager
def tracking(run: Run, name: str | None) -> Iterator[list[Callback]]:
    """Context of a training that is logged to the tracker ``name``. Returns its callbacks, [] if ``name`` is None."""
    if name is None:
        yield []
        return
    tracker = Tracker(run, name)
    try:
        yield [tracker]
    finally:
        tracker.close()


class Tracker(Callback):
    """Logs the records and evaluations of a training to a tracker, until the tracker fails."""

    def __init__(self, run: Run, name: str) -> None:
        self._run, self._name = run, name
        self._backend: Backend | None = None

    def on_start(self, folder: Path, say: Callable[[str], None]) -> None:
        file = folder / "trackers.json"
        with self._failing():
            known = read_json(file, dict[str, FileName]) if file.is_file() else {}
            self._backend = backend = BACKENDS[self._name](_settings(self._run), folder.name, known.get(self._name, ""))
            write_json(file, {**known, self._name: backend.id})

    def on_record(self, record: dict[str, Any]) -> None:
        self._log(record, "")

    def on_evaluation(self, evaluation: dict[str, Any]) -> None:
        low, high = evaluation.get("mean_reward_ci95") or (math.nan, math.nan)
        self._log({**evaluation, "mean_reward_low": low, "mean_reward_high": high}, "evaluation/")

    def close(self) -> None:
        with self._failing():
            if self._backend is not None:
                self._backend.finish()

    def _log(self, record: Mapping[str, Any], prefix: str) -> None:
        with self._failing():
            if self._backend is not None:
                numbers = {f"{prefix}{name}" if prefix or "/" in name else f"run/{name}": float(value)
                           for name, value in record.items()
                           if name != "update" and isinstance(value, int | float) and math.isfinite(value)}
                self._backend.log(numbers, int(record["update"]))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Context of every use of the tracker: if it fails, log a warning and stop using it."""
        try:
            yield
        except Exception as error:
            self._backend = None
            _log.warning("%s failed (%s: %s) and is disabled. Training continues; everything is in the run's folder.",
                         self._name, type(error).__name__, error)


def _settings(run: Run) -> dict[str, Any]:
    """Game, algorithm and all settings of the run, by plain names and without anything about this machine, such as
    paths."""
    config = run.config
    game = Path(config.game).name if config.game.endswith(".py") else config.game
    algorithm = Path(config.algorithm).name if config.algorithm.endswith(".py") else config.algorithm
    data = config.to_json()
    return {"game": game, "algorithm": algorithm, "rewards": config.rewards, "myosu": config.myosu,
            **{name: value for name, value in data["train"].items() if name != "evaluation_opponent"},
            **{name: value for name, value in data["algorithm_config"].items() if name != "recordings"}}


def _project(variable: str) -> str:
    return os.environ.get(variable) or "myosu"
