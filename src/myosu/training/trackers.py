"""A run shown in other people's trackers as well: Weights & Biases, Trackio, MLflow.

The run's folder stays the source: what a tracker gets is what ``metrics.jsonl`` holds, and ``trackers.json`` there
keeps the tracker's id, so that a resumed run goes on in the same place. TensorBoard needs none of this; every run has
its files. A tracker that fails is told once and left out; the training goes on.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
from collections.abc import Iterator, Mapping
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
    """One tracker. Made from the settings of the run (plain names and values), its name, and the id that the tracker
    gave to this run before, "" if it is new. id: what to find it again by."""

    id: str

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Numbers by name, after ``step`` updates."""

    def finish(self) -> None:
        """The training has ended; what is held back is sent."""


class WeightsAndBiases:
    """``wandb``; the project is WANDB_PROJECT or "myosu". WANDB_MODE=offline keeps everything on this machine."""

    def __init__(self, settings: dict[str, Any], name: str, known: str) -> None:
        import wandb

        self._run = wandb.init(project=_project("WANDB_PROJECT"), name=name, config=settings, id=known or None,
                               resume="allow")
        self.id = str(self._run.id)

    def log(self, numbers: dict[str, float], step: int) -> None:
        # Evaluations arrive later than the updates they are of, and W&B drops what is older than its newest step.
        self._run.log({**numbers, "update": step})

    def finish(self) -> None:
        self._run.finish()


class Trackio:
    """``trackio``, a local tracker with the interface of W&B; the project is TRACKIO_PROJECT or "myosu"."""

    def __init__(self, settings: dict[str, Any], name: str, known: str) -> None:
        import trackio

        self.id = known or name  # it knows runs by their names
        self._run = trackio.init(project=_project("TRACKIO_PROJECT"), name=self.id, config=settings, resume="allow")

    def log(self, numbers: dict[str, float], step: int) -> None:
        self._run.log({**numbers, "update": step})

    def finish(self) -> None:
        self._run.finish()


class MLflow:
    """``mlflow``; where to is MLFLOW_TRACKING_URI, the experiment MLFLOW_EXPERIMENT_NAME or "myosu"."""

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
    """Raises UserError unless there is a tracker of this name, and its package is installed. None needs nothing."""
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
    """Context of a training that the tracker ``name`` hears of: the callbacks for it, none if ``name`` is None."""
    if name is None:
        yield []
        return
    tracker = Tracker(run, name)
    try:
        yield [tracker]
    finally:
        tracker.close()


class Tracker(Callback):
    """Hands the records and evaluations of a training to a tracker until that fails."""

    def __init__(self, run: Run, name: str) -> None:
        self._name, self._backend = name, None
        file = run.folder / "trackers.json"
        with self._failing():
            known = read_json(file, dict[str, FileName]) if file.is_file() else {}
            self._backend = BACKENDS[name](_settings(run), run.folder.name, known.get(name, ""))
            write_json(file, {**known, name: self._backend.id})

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
        """Context of anything that a tracker does: if it fails, that is told, and it is left out from then on."""
        try:
            yield
        except Exception as error:
            self._backend = None
            _log.warning("%s failed (%s: %s) and is left out. The training goes on; everything is in the run's folder.",
                         self._name, type(error).__name__, error)


def _settings(run: Run) -> dict[str, Any]:
    """Game, algorithm and all settings of the run by plain names. Nothing of the machine, such as paths."""
    config = run.config
    game = Path(config.game).name if config.game.endswith(".py") else config.game
    algorithm = Path(config.algorithm).name if config.algorithm.endswith(".py") else config.algorithm
    data = config.to_json()
    return {"game": game, "algorithm": algorithm, "rewards": config.rewards, "myosu": config.myosu,
            **{name: value for name, value in data["train"].items() if name != "evaluation_opponent"},
            **{name: value for name, value in data["algorithm_config"].items() if name != "recordings"}}


def _project(variable: str) -> str:
    return os.environ.get(variable) or "myosu"
