"""The Python interface of Myosu. It accepts names, paths and Python objects; other modules get only names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from myosu.envs.making import absolute_name
from myosu.envs.python_objects import code_of, register, register_again
from myosu.envs.registry import Environment, Workers, load_environment
from myosu.errors import UserError
from myosu.evaluation.report import evaluation_report
from myosu.players.opponents import resolve_opponent
from myosu.players.trained import TrainedAgent
from myosu.processes import keep_freed_memory
from myosu.runs.checkpoint import find_checkpoint
from myosu.runs.config import RunConfig
from myosu.runs.metrics import read_evaluations
from myosu.runs.run import default_folder, open_run
from myosu.sources.ray import require_cluster
from myosu.training import trainer
from myosu.training.callbacks import Callback
from myosu.training.start import configure, create_run, require_possible
from myosu.training.trackers import require_tracker, tracking

if TYPE_CHECKING:
    from myosu.doctor.finding import Finding
    from myosu.envs.vector import VectorEnv

#: A game or an environment: a registered game's name, the path of a .py file, a Gymnasium id (``module:Id-v0`` imports
#: the module first); a ``Game``, or a module that defines ``GAME``; a Gymnasium environment class or a function that
#: returns an environment; an environment made by ``gymnasium.make``.
Env = Any


@dataclass(frozen=True)
class TrainedRun:
    """The result of ``train``.

    folder: the absolute path of the run. reason: the limit that ended the training, "interrupted", or another cause.
    Totals of the whole run: ``updates`` of the learner, finished ``games`` (episodes), ``env_steps``, ``seconds``.
    """

    folder: Path
    reason: str
    updates: int
    games: int
    env_steps: int
    seconds: float

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """The run's evaluations, oldest first, each with ``update``, ``mean_reward``, ``mean_reward_ci95``, …"""
        return read_evaluations(self.folder / "metrics.jsonl")

    def agent(self, which: Literal["latest", "best"] | int = "latest", simulations: int | None = None) -> TrainedAgent:
        """Load the agent of the latest checkpoint, of the best one by evaluation, or of the one kept at an update.

        simulations: per move, instead of the number it was trained with.
        """
        name = which if isinstance(which, str) else f"update-{which:08d}"
        return TrainedAgent(self.folder / "checkpoints" / name, simulations)


def train(env: Env = None, algorithm: str | None = None, *, minutes: float | None = None,
          run: str | Path | None = None, resume: str | Path | TrainedRun | None = None,
          rewards: Literal["score", "outcome"] = "score", env_kwargs: Mapping[str, Any] | None = None,
          callbacks: Sequence[Callback] = (), quiet: bool = False, handle_signals: bool = False,
          opponent: str | TrainedRun | None = None, cluster: str | None = None, trust: bool = False,
          preset: str | Path | None = None, track: str | None = None, **settings: Any) -> TrainedRun:
    """Train an agent on ``env``, or resume a run, until one of the limits is reached.

    env: see ``Env``. algorithm: "muzero", "alphazero", "muesli", "dqn", "ppo" or the path of your own file; by default
        MuZero for two-player games and PPO for everything else.
    minutes: limit of wall-clock time. ``updates``, ``games`` and ``env_steps`` are further limits. Without any limit,
        the run takes 60 minutes.
    run: the folder of the new run, by default ``runs/GAME-ALGORITHM-TIME``.
    resume: a run's folder or one of its checkpoints, to continue with the run's settings. Only limits,
        ``actors`` and the settings of evaluations, checkpoints and videos may change. If the environment was a Python
        object, pass it again.
    opponent: plays the other seat of a two-player game, so that PPO, SAC and DQN can learn it too. Names are those of
        ``evaluate``, or "pool" for earlier versions of the learner. By default the learner plays both seats.
    rewards: "outcome" keeps only the sign of a native game's rewards, so that only winning counts. env_kwargs: keyword
        arguments for the environment.
    callbacks: called with records of metrics, evaluations and checkpoints; they may end the run.
    handle_signals: on Ctrl-C, SIGTERM and a closed terminal, save a checkpoint and stop, as the command does; only in
        the main thread. Otherwise a KeyboardInterrupt ends the training immediately; the last checkpoint is kept.
    cluster: HOST:PORT of a Ray cluster's head, or "auto" for the cluster that this machine belongs to. Actors run on
        all its machines, the learner and evaluations on this one (docs/scale.md).
    trust: with ``resume``, allow code in files and modules that the run's folder names.
    preset: a .toml file of the algorithm's settings, as ``myosu tune`` writes it, instead of the presets for this
        environment.
    track: "wandb", "trackio" or "mlflow" logs the run to that tracker as well (``training.trackers``).
    settings: fields of ``TrainConfig`` and of the algorithm's ``Config``, which override the preset for this
        environment (``myosu train ENV --help`` lists them).

    Raises UserError for errors that you can fix.
    """
    require_tracker(track)
    here = Path.cwd()  # making the environment may change the working directory
    settings |= {} if minutes is None else {"minutes": minutes}
    if resume is not None:
        started = {"algorithm": algorithm, "preset": preset, "run": run, "opponent": opponent, "env_kwargs": env_kwargs,
                   "rewards": None if rewards == "score" else rewards}
        if fixed := [name for name, value in started.items() if value is not None]:
            raise UserError(f"resume continues a run with its own settings: leave out {fixed[0]}.")
        opened = open_run(_folder(resume), trust)
        if env is not None:
            _give_again(opened.config, env)
        if opponent := settings.get("evaluation_opponent"):
            settings["evaluation_opponent"] = resolve_opponent(opponent, opened.config.environment)
        opened = open_run(here / _folder(resume), **settings)
        require_possible(opened.config)
        if cluster is not None:
            require_cluster(opened.config, cluster)
    elif env is None:
        raise UserError("train() needs an environment: train(\"othello\"), train(\"CartPole-v1\"), or train(MyEnv).")
    else:
        name, kwargs = _named(env)
        algorithm = algorithm and absolute_name(algorithm)
        config = configure(name, algorithm, settings, rewards, {**kwargs, **(env_kwargs or {})},
                           None if opponent is None else _named_opponent(opponent), preset)
        if cluster is not None:
            require_cluster(config, cluster)
        opened = create_run(config, here / (run or default_folder(config)))
    keep_freed_memory()
    from myosu.doctor.attending import RunDoctor

    try:
        with tracking(opened, track) as tracker:
            result = trainer.train(opened, quiet, (RunDoctor(), *callbacks, *tracker), handle_signals, cluster)
    except Exception:
        if resume is None:
            opened.discard_if_unused()
        raise
    return TrainedRun(opened.folder, result.reason, result.updates, result.games, result.env_steps, result.seconds)


def load(run: str | Path | TrainedRun, env: Env = None, simulations: int | None = None, seed: int = 0,
         trust: bool = False) -> TrainedAgent:
    """Load an agent from a run (its latest checkpoint), ``RUN/checkpoints/best``, a checkpoint or a ``save`` folder.

    env: the environment, if it was passed to ``train`` as a Python object in another process.
    simulations: per move, instead of the number it was trained with. seed: seed of a stochastic agent.
    trust: allow code in files and modules that the folder names. Nothing else in it ever runs.
    """
    folder = _folder(run)
    if env is not None:
        _give_again(find_checkpoint(folder).config, env)
    return TrainedAgent(folder, simulations, seed, trust)


def evaluate(agent: TrainedAgent | TrainedRun | str | Path, opponent: str | TrainedRun = "random", games: int = 200,
             opening_plies: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Evaluate an agent: in a two-player game by a match, half of the games from each seat; otherwise by episodes.

    opponent: random, greedy, alphabeta:DEPTH, mcts:SIMULATIONS, gtp:"COMMAND", exhaustive (small games), or a run.
    opening_plies: random plies at the start of each pair of games; by default a number that suits the game.

    Returns the report that ``myosu evaluate --json`` prints: ``mean_reward`` with its 95 % interval
    ``mean_reward_ci95``, in two-player games also ``win_rate``, ``draw_rate`` and more. Raises UserError.
    """
    agent = agent if isinstance(agent, TrainedAgent) else load(agent, seed=seed)
    text = _named_opponent(opponent)
    report = evaluation_report(agent.agent, agent.environment, agent.name, text, games, opening_plies=opening_plies,
                               seed=seed)
    return report | {"run": agent.name, "algorithm": agent.config.algorithm, "simulations": agent.simulations}


def check(env: Env, games: int | None = None, seed: int = 0, env_kwargs: Mapping[str, Any] | None = None
          ) -> list[Finding]:
    """Test a game or an environment by random play. Returns a list of what is wrong with it, empty if nothing is.

    games: number of random games, 200 by default, or of an environment's episodes, 50 by default.
    """
    from myosu.doctor import check_game, check_gym

    environment = _environment(env, env_kwargs)
    if environment.game is not None:
        return check_game(environment.game, games or 200, seed)
    assert environment.maker is not None
    return check_gym(environment.maker, games or 50, seed)


def make(env: Env, num_envs: int = 1, seed: int = 0, workers: Workers = "none",
         rewards: Literal["score", "outcome"] = "score", env_kwargs: Mapping[str, Any] | None = None) -> VectorEnv:
    """Make a vector environment of ``num_envs`` environments: ``reset()``, ``recv()``, ``send(actions, env_ids)``
    (``myosu.envs.vector.VectorEnv``).

    workers: "synchronous" or "asynchronous" runs each Gymnasium environment in its own process; "vector" uses the
        environment's own vector implementation.
    """
    return replace(_environment(env, env_kwargs, rewards), workers=workers).make(num_envs, seed)


def _environment(env: Env, env_kwargs: Mapping[str, Any] | None, rewards: str = "score") -> Environment:
    name, kwargs = _named(env)
    return load_environment(name, {**kwargs, **(env_kwargs or {})}, rewards)


def _give_again(config: RunConfig, env: Env) -> None:
    register_again(config.game, env)
    for file, now in code_of(config.game).items():
        if config.code.get(file, now) != now:
            warnings.warn(f"{file} has changed since the run was made.", stacklevel=3)


def _named(env: Env) -> tuple[str, dict[str, Any]]:
    name, kwargs = register(env)
    return absolute_name(name), kwargs


def _named_opponent(opponent: str | TrainedRun) -> str:
    return opponent if isinstance(opponent, str) else str(_folder(opponent))


def _folder(run: str | Path | TrainedRun) -> Path:
    return run.folder if isinstance(run, TrainedRun) else Path(run)
