"""``myosu train``. Its flags are the fields of ``TrainConfig`` and of the algorithm's ``Config``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from myosu.algorithms import ALGORITHMS, load_algorithm
from myosu.commands.options import ENV_KWARGS_HELP, read_env_kwargs
from myosu.errors import UserError
from myosu.presets import load_preset

DEFAULT_MINUTES = 60.0


def main(arguments: list[str]) -> int:
    import torch

    from myosu.envs.registry import load_environment
    from myosu.processes import keep_freed_memory
    from myosu.runs.config import LIMITS, RunConfig, TrainConfig
    from myosu.runs.run import open_run
    from myosu.training.start import create_run
    from myosu.training.trainer import train

    torch.set_num_threads(1)
    keep_freed_memory()
    algorithm = _algorithm_named(arguments)
    settings = load_algorithm(algorithm).Config
    # Read once for the environment alone, then again with the defaults that suit it.
    known, _ = tyro.cli(_options(TrainConfig, settings, {}), prog="myosu train", args=_without_help(arguments),
                        return_unknown_args=True)
    env_kwargs = read_env_kwargs(known.env_kwargs)
    preset = {}
    if known.game is not None:
        preset = load_preset(algorithm, load_environment(known.game, env_kwargs, known.rewards), settings)
    options = vars(tyro.cli(_options(TrainConfig, settings, preset), prog="myosu train", args=arguments))
    own = {field.name for field in dataclasses.fields(TrainConfig)}
    given = {name for name in options if _is_given(name, arguments)}

    if options["resume"] is not None:
        if options["game"] is not None or (fixed := given - own - {"resume", "quiet"}):
            what = repr(options["game"]) if options["game"] is not None else "--" + min(fixed).replace("_", "-")
            raise UserError(f"--resume goes on with a run as it was started: leave out {what}.")
        run = open_run(options["resume"], **{name: options[name] for name in given & own})
    else:
        if options["game"] is None:
            raise UserError("Which game? For example: myosu train othello, or a Gymnasium environment: myosu train "
                            "CartPole-v1 --algorithm ppo. All games: myosu games.")
        if all(options[name] is None for name in LIMITS):
            options["minutes"] = DEFAULT_MINUTES
        config = RunConfig(
            game=options["game"],
            algorithm=algorithm,
            algorithm_config=dataclasses.asdict(_pick(settings, options)),
            train=_pick(TrainConfig, options),
            rewards=options["rewards"],
            env_kwargs=env_kwargs,
        )
        run = create_run(config, options["run"])
    result = train(run, quiet=options["quiet"])
    return 130 if result.reason == "interrupted" else 0


def _options(train_config: Any, settings: Any, preset: dict[str, Any]) -> Any:
    """A dataclass of all flags: what is asked for here, then the fields of both configurations without their checks,
    which come when these are made."""
    help_of = {
        "game": "A game's name, the path of its .py file, or a Gymnasium environment's id (module:Id-v0 imports the "
                "module first).",
        "algorithm": f"What learns: {', '.join(ALGORITHMS)}.",
        "run": "The run's folder; runs/GAME-ALGORITHM-TIME by default.",
        "resume": "Go on with the run in this folder, or from one of its checkpoints.",
        "rewards": "score: the game's rewards; outcome: only winning counts.",
        "env_kwargs": ENV_KWARGS_HELP,
        "quiet": "Show no progress.",
    }
    fields: list[tuple[str, Any, Any]] = [
        ("game", Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="GAME")], None),
        ("algorithm", str, ALGORITHMS[0]),
        ("run", Path | None, None),
        ("resume", Path | None, None),
        ("rewards", Literal["score", "outcome"], "score"),
        ("env_kwargs", str, "{}"),
        ("quiet", bool, False),
    ]
    for kind, values in ((train_config, {}), (settings, preset)):
        types = get_type_hints(kind)
        for field in dataclasses.fields(kind):
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            fields.append((field.name, types[field.name], values.get(field.name, default)))
        help_of.update(field_docs(kind))
    help_of["minutes"] += f" {DEFAULT_MINUTES:g} where no limit is given."
    return dataclasses.make_dataclass(
        "train", [(name, Annotated[kind, tyro.conf.arg(help=help_of[name])], dataclasses.field(default=default))
                  for name, kind, default in fields],
        namespace={"__doc__": "Train an agent on a game or an environment, or go on with a run. The first limit ends "
                              "it. Defaults are those that suit the environment."})


def field_docs(kind: type) -> dict[str, str]:
    """The docstring below each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    return {field.target.id: " ".join(str(text.value.value).split()) for field, text in pairwise(body)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)}


def _pick(kind: Any, options: dict[str, Any]) -> Any:
    return kind(**{field.name: options[field.name] for field in dataclasses.fields(kind)})


def _algorithm_named(arguments: list[str]) -> str:
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if word == "--algorithm":
            return following
        if word.startswith("--algorithm="):
            return word.partition("=")[2]
    return ALGORITHMS[0]


def _is_given(name: str, arguments: list[str]) -> bool:
    words = {word.partition("=")[0].removeprefix("--").replace("_", "-") for word in arguments if word.startswith("--")}
    flag = name.replace("_", "-")
    return flag in words or f"no-{flag}" in words


def _without_help(arguments: list[str]) -> list[str]:
    return [word for word in arguments if word not in ("--help", "-h")]
