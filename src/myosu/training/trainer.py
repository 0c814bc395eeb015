"""The training loop: a learner, a source of experience (``sources``) and an evaluator.

The loop knows an algorithm only by ``algorithms/interface.py``. In deterministic mode the same objects take turns in
one process, and nothing that changes the weights depends on the clock.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from myosu.algorithms import algorithm_of, load_settings, plays
from myosu.algorithms.interface import Experience
from myosu.errors import NonFiniteLoss, UserError
from myosu.memory import total_memory
from myosu.players.opponents import resolve_opponent
from myosu.randomness import derive_seed, get_randomness, prepare_process, set_randomness
from myosu.runs.checkpoint import Checkpoint, Checkpoints, open_checkpoint
from myosu.runs.config import LIMITS
from myosu.runs.metrics import Metrics, Rates, read_evaluations
from myosu.runs.run import Run
from myosu.runs.state import State, require_moments, save_state
from myosu.sources.factory import make_source
from myosu.training.callbacks import Callback
from myosu.training.evaluators import EvaluatorInTurn, EvaluatorProcess
from myosu.training.process_settings import repeatable, settings_restored, stop_signals
from myosu.training.progress import Progress, Status
from myosu.training.videos import VideoProcess

#: Seconds between two records in the metrics.
RECORD_SECONDS = 5.0
#: Seconds between two polls for notices of environments and workers: asking every environment at every step is slow.
NOTICE_SECONDS = 0.2
#: Seconds to wait at the end for a video that is still being made.
VIDEO_SECONDS = 60.0
#: An evaluation takes a core from a parallel source. The next one starts after this many times its duration.
EVALUATION_PAUSE = 5.0


@dataclass(frozen=True)
class TrainResult:
    """reason: the limit that was reached, "interrupted", or another cause. evaluation: the last one, or None."""

    run: Run
    reason: str
    updates: int
    games: int
    env_steps: int
    seconds: float
    evaluation: dict[str, Any] | None


def train(run: Run, quiet: bool = False, callbacks: Sequence[Callback] = (),
          handle_signals: bool = False, cluster: str | None = None) -> TrainResult:
    """Train until the first limit of ``run.config.train``, from the run's latest checkpoint if it has one.

    handle_signals: save a checkpoint and stop on Ctrl-C, SIGTERM and SIGHUP; only in the main thread.
    cluster: the address of a Ray cluster for the actors, already checked by ``sources.ray.require_cluster``.
    Raises UserError for errors that the user can fix: no space left, a damaged checkpoint, a loss that is not finite.
    """
    resolve_opponent(run.config.train.evaluation_opponent, run.config.environment)
    lock = run.lock()
    try:
        with stop_signals(handle_signals) as stop, repeatable(run.config.train.deterministic), settings_restored():
            trainer = Trainer(run, quiet, callbacks, cluster)
            trainer.progress.stoppable = handle_signals
            try:
                return trainer.run_until(stop)
            except NonFiniteLoss as error:
                raise UserError(trainer.keep_evidence(error)) from error
            except UserError as error:
                raise trainer.save_after(error) from error
            except KeyboardInterrupt:
                trainer.progress.say(f"Stopped immediately. {_kept(run)}. Resume with: myosu train --resume "
                                     f"{run.folder}")
                raise
            finally:
                trainer.close()
    except RuntimeError as error:
        # A full GPU raises OutOfMemoryError if torch allocates, another CUDA error elsewhere, a RuntimeError on MPS.
        if "out of memory" not in str(error).lower():
            raise
        settings = load_settings(run.config)
        fixed = f"num_envs ({settings.num_envs}) or batch_size ({settings.batch_size})"  # not changed by resuming
        again = _then_resume(run)
        raise UserError("The memory of the GPU is full. Lower " + (
            f"--actors{again}, or start a new run with a lower {fixed}." if again else f"--actors, {fixed}.")
                        ) from error
    except (OSError, SafetensorError) as error:
        if not _out_of_space(error):
            raise
        raise UserError(f"No space is left for {run.folder}. {_kept(run)}. Free some space{_then_resume(run)}."
                        ) from error
    finally:
        os.close(lock)


class Trainer:
    """The state of one training loop. Counters: ``updates`` of the learner, ``samples`` drawn from the replay,
    finished ``games`` (episodes), ``env_steps`` of all environments."""

    def __init__(self, run: Run, quiet: bool = False, callbacks: Sequence[Callback] = (),
                 cluster: str | None = None) -> None:
        self._begin = time.monotonic()
        self.run, self.config = run, run.config.train
        settings, environment = load_settings(run.config), run.config.environment
        algorithm, spec = algorithm_of(run.config), run.config.learner_spec
        self.settings, self.two_players = settings, environment.spec.num_players == 2
        prepare_process(derive_seed(self.config.seed, 4))
        self.updates = self.samples = self.games = self.env_steps = 0
        self._seconds_before = 0.0
        self._callbacks, self._stopped_by = callbacks, ""
        self._whole_rollouts, self._rollout_open = algorithm.SOURCE == "only in turn", False
        self.checkpoints = Checkpoints(run.checkpoints)
        with run.config.making():
            self.replay = algorithm.make_replay(settings, spec)
            self.learner = algorithm.make_learner(settings, spec, environment.symmetries,
                                                  derive_seed(self.config.seed, 0))
        self._plays = plays(run.config)
        self._evaluates = self.config.evaluate_every > 0 and self._plays
        path = run.start or self.checkpoints.latest()
        checkpoint = open_checkpoint(path) if path else None
        state = checkpoint.state() if checkpoint else None
        if state:
            self._restore_counters(state)
            self._require_work()
        self.source = make_source(run.config, cluster)
        self.evaluator = EvaluatorInTurn() if self.config.deterministic else EvaluatorProcess(run.config.game)
        self.videos = VideoProcess(run)
        if checkpoint and state:
            self._restore(checkpoint, state)
        # Everything that may be refused is above: a command that is refused changes nothing in the folder.
        run.write_config()
        for moved in self.checkpoints.set_aside_after(self.updates) if checkpoint else ():
            print(f"A later checkpoint is set aside as {moved}")
        self.metrics = Metrics(run, self.updates, self.env_steps, self.games)
        self._evaluated = max((entry["update"] for entry in self.metrics.evaluations), default=0)
        self._evaluated_at: dict[str, float] = {}
        self._submitted_at = self._rested_at = 0.0
        if self._plays:
            self._set_best()
        self.rates = Rates()
        self._published: int | None = None
        self._last = dict.fromkeys(("record", "checkpoint", "notices"), time.monotonic())
        self.progress = Progress(run, self.two_players, quiet)
        if checkpoint:
            self.progress.say(f"Resuming from {checkpoint.path}")

    # --- the loop

    def run_until(self, stop: list[int]) -> TrainResult:
        """Loop until a limit is reached or ``stop`` holds a signal; then save, evaluate and print the summary."""
        self._publish()
        with self.progress:
            for callback in self._callbacks:
                callback.on_start(self.run.folder, self.progress.say)
            while not (reason := self.limit_reached() or self._exhausted() or self._stopped_by) and not stop:
                can_learn = self.can_learn()
                for experience in self.source.collect(wait=not can_learn):
                    self._add(experience)
                if can_learn:
                    self._learn()
                self._housekeeping("training" if can_learn else "waiting for games")
            self._learn_the_rest(stop)
            if stop:
                self.progress.say("Saving and stopping. Ctrl-C again stops immediately.")
            self.checkpoint()
            self._tell_notices()
            self.source.close()
            if self._evaluates:
                self._evaluate_last(stop)
            self._film_last(stop)
            self._record("finished")
        self.metrics.flush()
        result = TrainResult(self.run, reason or "interrupted", self.updates, self.games, self.env_steps,
                             self.elapsed(), self.metrics.evaluations[-1] if self.metrics.evaluations else None)
        self.progress.summary(result)
        return result

    def can_learn(self) -> bool:
        """Whether there are enough positions for another update without exceeding the replay ratio."""
        replay, settings = self.replay, self.settings
        # If no more will come, learn from fewer than ``learning_starts``.
        enough = replay.positions >= settings.learning_starts or (self.source.exhausted and replay.positions > 0)
        return enough and self.samples + settings.batch_size <= settings.replay_ratio * replay.total_positions

    def must_pause_source(self) -> bool:
        """Whether the learner is so far behind that the source must pause. Never true while the learner itself waits,
        because both would wait for ever."""
        replay, settings = self.replay, self.settings
        ahead = replay.total_positions - max(self.samples / settings.replay_ratio, settings.learning_starts)
        return ahead > self.source.slack and self.can_learn()

    def limit_reached(self) -> str:
        """The limit that ended the run, in words; "" if none is reached yet."""
        for name, (done, limit) in self._limits().items():
            if done >= limit and not (name == "env_steps" and self._rollout_open):
                return f"{limit:g} {name.replace('_', ' ')}"
        return ""

    def _exhausted(self) -> str:
        """Why there is nothing left to learn from, in words; "" otherwise."""
        return "all recorded games have been used" if self.source.exhausted and not self.can_learn() else ""

    def fraction_done(self) -> float:
        """Fraction of the run that is done, in [0, 1]; schedules follow it. Deterministic runs ignore the clock."""
        shares = [done / limit for name, (done, limit) in self._limits().items()
                  if not (self.config.deterministic and name == "minutes")]
        return min(1.0, max(shares))

    def elapsed(self) -> float:
        """Seconds of training, including those before the run was resumed."""
        return self._seconds_before + time.monotonic() - self._begin

    def _limits(self) -> dict[str, tuple[float, float]]:
        done = {"minutes": self.elapsed() / 60, "updates": self.updates, "games": self.games,
                "env_steps": self.env_steps}
        return {name: (done[name], getattr(self.config, name)) for name in LIMITS
                if getattr(self.config, name) is not None}

    def _learn(self) -> None:
        self.metrics.add_losses(self.learner.update(self.replay, self.fraction_done()))
        self.updates += 1
        self.samples += self.settings.batch_size

    def _learn_the_rest(self, stop: list[int]) -> None:
        """If actor and learner take turns, do the updates that the last steps allow: for PPO, those of a whole
        rollout."""
        while not self.source.parallel and self.can_learn() and not (stop or self._stopped_by) and not any(
                done >= limit for name, (done, limit) in self._limits().items() if name in ("minutes", "updates")):
            self._learn()

    def _add(self, experience: Experience) -> None:
        # A run must not stop in the middle of a rollout, because its steps would never be used for an update.
        self._rollout_open = self._whole_rollouts and not experience.sequences
        for sequence in experience.sequences:
            self.replay.add(sequence, experience.weights_version)
        self.env_steps += experience.steps
        for episode in experience.episodes:
            if (filmed := self.metrics.add_episode(episode, self.games, self.env_steps)) is not None:
                self.videos.submit(filmed)
            self.games += 1

    def _housekeeping(self, phase: str) -> None:
        """Periodic work: weights for the source, evaluations, checkpoints, records, notices and progress."""
        self.source.set_paused(self.must_pause_source())
        if self._published != self.updates and self.source.wants_weights(waiting=not self.can_learn()):
            self._publish()
        if self._evaluates and self._evaluation_due() and self.evaluator.pending is None:
            path = self.checkpoint()
            self._submit(path)
        if result := self.evaluator.poll():
            self._take_evaluation(result)
        if self._due("checkpoint", 60 * self.config.checkpoint_every_minutes):
            self.checkpoint()
        if self._due("record", RECORD_SECONDS):
            self._record("evaluating" if self.evaluator.pending is not None else phase)
        if self._due("notices", NOTICE_SECONDS):
            self._tell_notices()
        self.progress.refresh(lambda: self._status(phase))

    def _tell_notices(self) -> None:
        for notice in (*self.source.notices(), *self.videos.notices()):
            self.progress.say(notice)

    def _due(self, what: str, seconds: float) -> bool:
        if time.monotonic() - self._last[what] < seconds:
            return False
        self._last[what] = time.monotonic()
        return True

    def _publish(self) -> None:
        self.source.publish(self.learner.weights(), self.updates)
        self._published = self.updates

    # --- evaluation

    def _evaluation_due(self) -> bool:
        every = self.config.evaluate_every
        return self.updates // every > self._evaluated // every and time.monotonic() >= self._rested_at

    def _submit(self, path: Path) -> None:
        self._evaluated, self._submitted_at = self.updates, time.monotonic()
        self._evaluated_at = {"env_steps": self.env_steps, "training_seconds": round(self.elapsed(), 2),
                              "processor_seconds": round(time.process_time(), 2)}
        games = self.config.evaluation_games or (200 if self.two_players else 50)
        self.evaluator.submit(self.updates, path, games, derive_seed(self.config.seed, 3, self.updates))

    def _evaluate_last(self, stop: list[int]) -> None:
        """Wait for a running evaluation and for one of the final weights; skipped after Ctrl-C."""
        while not stop:
            if self.evaluator.pending is None:
                if self._evaluated >= self.updates:
                    break
                self._submit(self.checkpoints.path(self.updates))
            if result := self.evaluator.poll(timeout=0.2):
                self._take_evaluation(result)
            self.progress.refresh(lambda: self._status("evaluating"))

    def _take_evaluation(self, result: dict[str, Any]) -> None:
        if self.source.parallel:
            now = time.monotonic()
            self._rested_at = now + EVALUATION_PAUSE * (now - self._submitted_at)
        if "error" in result:
            self.progress.say(f"The evaluation of update {result['update']} failed: {result['error']}")
            return
        evaluation = {**result, **self._evaluated_at}
        self.metrics.add_evaluation(evaluation)
        self._set_best()
        self._tell("on_evaluation", evaluation)

    def _set_best(self) -> None:
        """Mark the best checkpoint against the opponent of the last evaluation: a resumed run may have another one."""
        evaluations = self.metrics.evaluations
        there = [entry for entry in evaluations if entry.get("opponent") == evaluations[-1].get("opponent")
                 and self.checkpoints.path(entry["update"]).is_dir()]
        if there:
            best = max(there, key=lambda entry: (entry["mean_reward"], entry["update"]))
            opponent = {"opponent": best["opponent"]} if best.get("opponent") else {}
            self.checkpoints.set_best(best["update"], mean_reward=best["mean_reward"], **opponent)
        else:
            self.checkpoints.clear_best()

    def _film_last(self, stop: list[int]) -> None:
        """Wait for a video that is being made; skipped after Ctrl-C."""
        deadline = time.monotonic() + VIDEO_SECONDS
        while self.videos.busy and not stop and time.monotonic() < deadline:
            for notice in self.videos.notices(timeout=0.2):
                self.progress.say(notice)
            self.progress.refresh(lambda: self._status("making a video"))

    # --- checkpoints

    def checkpoint(self) -> Path:
        """Save a checkpoint unless this update already has one, and delete those that need not be kept."""
        path = self.checkpoints.path(self.updates)
        written = not path.is_dir()
        if written:
            weights = self.learner.weights()
            for name, tensor in weights.items():
                if not torch.isfinite(tensor.float()).all():
                    raise NonFiniteLoss(f"the weights {name} are not finite", {})
            self.metrics.flush()
            self.checkpoints.write(self.updates, self.run.config, weights, self._state(),
                                   self.replay.save(self.run.replay), self.run.replay)
            if not self._plays:
                self._test()
        pending = set() if self.evaluator.pending is None else {self.evaluator.pending}
        kept = self.checkpoints.retain(self.config.keep_every, pending)
        self.replay.prune(self.run.replay, [checkpoint.manifest["replay"] for checkpoint in kept])
        if written:
            self._tell("on_checkpoint", path)
        return path

    def _test(self) -> None:
        """Mark the checkpoint just written as the best if its held-out loss is the least so far, in a run that is not
        evaluated by playing."""
        loss, least = self.learner.held_out_loss(self.replay), self.checkpoints.least_held_out_loss()
        if loss is not None and (least is None or loss < least):
            self.checkpoints.set_best(self.updates, held_out_loss=loss)

    def _state(self) -> State:
        return {
            "updates": self.updates,
            "samples": self.samples,
            "games": self.games,
            "env_steps": self.env_steps,
            "seconds": self.elapsed(),
            "learner": self.learner.state_dict(),
            "source": self.source.state_dict(),
            "randomness": get_randomness(),
        }

    def _restore_counters(self, state: State) -> None:
        self.updates, self.samples, self._seconds_before = state["updates"], state["samples"], state["seconds"]
        self.games, self.env_steps = state["games"], state["env_steps"]

    def _require_work(self) -> None:
        """Raise UserError if a limit is already reached and the last weights have been evaluated."""
        folder = self.run.folder
        if not (limit := self.limit_reached()):
            return
        evaluated = {entry["update"] for entry in read_evaluations(folder / "metrics.jsonl")}
        if not self._evaluates or self.updates in evaluated:
            raise UserError(f"{folder} has reached its end ({limit}). To train on, set a higher limit: myosu train "
                            f"--resume {folder} --minutes M (or --updates, --games, --env-steps).")

    def _restore(self, checkpoint: Checkpoint, state: State) -> None:
        checkpoint.check_replay(self.run.replay)
        with checkpoint.being_loaded():
            self.replay.load(self.run.replay, checkpoint.manifest["replay"])
            self.learner.load_state_dict(state["learner"])
            for part in vars(self.learner).values():
                if isinstance(part, torch.optim.Optimizer):
                    require_moments(part)
            self.source.load_state_dict(state["source"])
            if "randomness" in state:
                set_randomness(state["randomness"])

    def save_after(self, error: UserError) -> UserError:
        """Save the run if it has done any update. Returns the error to raise."""
        if not self.updates:
            return error
        try:
            self.checkpoint()
        except Exception:  # the first error is the one to report
            return error
        return UserError(f"{error} The run is saved; resume with: myosu train --resume {self.run.folder}")

    def keep_evidence(self, error: NonFiniteLoss) -> str:
        """Save the batch that caused the non-finite loss. Returns the message for the user."""
        latest = self.checkpoints.latest()
        message = f"Training stopped at update {self.updates}: {error}."
        if error.batch:
            folder = self.run.folder / f"nonfinite-update-{self.updates:08d}"
            folder.mkdir(exist_ok=True)
            save_state(folder, error.batch)
            message += f" The batch that caused it is in {folder}."
        if huge := _greatest_observation(error.batch):
            return f"{message} {huge}"
        message += f" The last good checkpoint is {latest}." if latest else " There was no checkpoint yet."
        return message + " A lower learning rate is the first thing to try."

    # --- reports

    def _counters(self) -> dict[str, float]:
        return {"games": self.games, "env_steps": self.env_steps, "updates": self.updates, "samples": self.samples,
                **self.source.waits()}

    def _record(self, phase: str) -> None:
        rates = self.rates.update(self._counters())
        counters = {
            "update": self.updates, "phase": phase, "seconds": round(self.elapsed(), 1),
            "games": self.games, "env_steps": self.env_steps, "samples": self.samples,
            "replay_positions": self.replay.positions, "replay_games": self.replay.games,
            "replay_ratio": self.samples / max(1, self.replay.total_positions),
            **{f"{name}_per_second": round(rates[name], 2) for name in ("games", "env_steps", "updates")},
            **{f"{name}_share": min(1.0, round(rates[name], 4)) for name in self.source.waits()},
            "actor_restarts": self.source.restarts, "env_restarts": self.source.env_restarts,
            "memory_mib": total_memory(),
            **{f"node/{address}/{name}": value for address, figures in self.source.nodes.items()
               for name, value in figures.items()},
        }
        losses, played = self.metrics.record(counters)
        self.progress.losses, self.progress.played = losses or self.progress.losses, played or self.progress.played
        self.progress.record = counters
        self._tell("on_record", {**counters, **{f"loss/{name}": value for name, value in losses.items()}, **played})

    def _tell(self, method: str, news: Any) -> None:
        for callback in self._callbacks:
            if getattr(callback, method)(news) is False:
                self._stopped_by = f"stopped by {type(callback).__name__}.{method}"

    def _status(self, phase: str) -> Status:
        return Status(phase=phase, seconds=self.elapsed(), limits=self._limits(),
                      rates=self.rates.update(self._counters()), evaluations=self.metrics.evaluations)

    def close(self) -> None:
        self.source.close()
        self.evaluator.close()
        self.videos.close()
        self.metrics.close()


def _greatest_observation(batch: dict[str, Any]) -> str:
    """A message about an observation large enough to be the likely cause, and what to do; "" if there is none."""
    greatest = {name: float(np.abs(np.asarray(value, np.float64)).max(initial=0.0)) for name, value in batch.items()
                if name.startswith("observation") and np.asarray(value).dtype.kind in "iuf"}
    name = max(greatest, key=lambda name: greatest[name], default="")
    if not name or greatest[name] < 1e6:
        return ""
    return (f"{name} holds numbers up to {greatest[name]:.3g}: clip or scale them in the environment, or train PPO "
            "with --normalize-observations.")


def _out_of_space(error: Exception) -> bool:
    # safetensors reports system errors as text only.
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or f"os error {errno.ENOSPC}" in str(error)


def _then_resume(run: Run) -> str:
    """The end of an advice: how to continue a run that has a checkpoint."""
    return f", then resume with: myosu train --resume {run.folder}" if Checkpoints(run.checkpoints).latest() else ""


def _kept(run: Run) -> str:
    latest = Checkpoints(run.checkpoints).latest()
    return f"The last checkpoint, {latest}, is intact" if latest else "There was no checkpoint yet"
