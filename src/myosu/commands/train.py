"""``myosu train``. Its flags are the fields of ``TrainConfig`` and of the algorithm's ``Config``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from myosu.algorithms import ALGORITHMS, load_algorithm
from myosu.commands.options import ENV_FLAGS, parse, read_environment_flags
from myosu.errors import UserError

#: Flags that ``--help`` shows: those that users change first. ``--help-all`` shows all flags.
FIRST = ("game", "algorithm", "minutes", "env_steps", "run", "resume", "seed", "learning_rate", "batch_size",
         "num_envs", "simulations", "discount")


def main(arguments: list[str]) -> int:
    if "--help-all" in arguments:
        arguments = ["--help" if word == "--help-all" else word for word in arguments]
    elif not {"--help", "-h"}.isdisjoint(arguments):
        parse(_options(*_algorithm_and_preset(arguments), FIRST), "train", ["--help"])
    from myosu.api import train
    from myosu.randomness import use_one_thread
    from myosu.runs.config import TrainConfig

    use_one_thread()
    algorithm, preset = _algorithm_and_preset(arguments)
    options = vars(parse(_options(algorithm, preset), "train", arguments))
    given = {name for name in options if _is_given(name, arguments)}
    if options["resume"] is not None:
        fixed = (given - {field.name for field in dataclasses.fields(TrainConfig)}
                 - {"resume", "quiet", "trust", "cluster", "track"})
        if options["game"] is not None or fixed:
            what = repr(options["game"]) if options["game"] is not None else "--" + min(fixed).replace("_", "-")
            raise UserError(f"--resume continues a run with its own settings: leave out {what}.")
    elif options["game"] is None:
        raise UserError(f"Which game or environment?\n\n{_trainable()}")
    own = {"algorithm", "preset", "track", "run", "resume", "rewards", "opponent", "quiet", "cluster", "trust",
           *ENV_FLAGS}
    ended = train(
        options["game"],
        None if options["resume"] else algorithm,
        run=options["run"],
        resume=options["resume"],
        preset=options["preset"],
        track=options["track"],
        rewards=options["rewards"],
        opponent=options["opponent"],
        env_kwargs=read_environment_flags(**{name: options[name] for name in ENV_FLAGS}) or None,
        quiet=options["quiet"],
        trust=options["trust"],
        handle_signals=True,
        cluster=options["cluster"],
        **{name: options[name] for name in given - own},
    )
    return 130 if ended.reason == "interrupted" else 0


def _algorithm_and_preset(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The algorithm and the preset for the environment, which determine the other flags and their defaults."""
    from myosu.envs.registry import load_environment
    from myosu.presets import default_algorithm, load_preset

    algorithm = _algorithm_named(arguments)
    asked = [word for word in arguments if word not in ("--help", "-h")]
    known, _ = tyro.cli(_options(algorithm, {}), prog="myosu train", args=asked, return_unknown_args=True)
    if known.game is None or known.resume is not None:
        return algorithm or ALGORITHMS[0], {}
    environment = load_environment(
        known.game, read_environment_flags(**{name: getattr(known, name) for name in ENV_FLAGS}), known.rewards)
    if algorithm is None:
        algorithm = default_algorithm(environment, known.opponent)
    return algorithm, load_preset(algorithm, environment, load_algorithm(algorithm).Config, known.preset)


def gymnasium_environments() -> list[str]:
    """Ids of the environments that come with Gymnasium and need no other package, in their newest versions."""
    from gymnasium import registry

    return list({spec.name: spec.id for spec in sorted(registry.values(), key=lambda spec: spec.version or 0)
                 if str(spec.entry_point).startswith(("gymnasium.envs.classic_control", "gymnasium.envs.toy_text"))
                 }.values())


def _trainable() -> str:
    """A list of the games and environments that can be trained on, as text."""
    from myosu.games import game_names

    kinds = {"games": game_names(), "Gymnasium": [*gymnasium_environments(), "any other id", "package:Id-v0"],
             "your own": ["mygame.py", "module:MyEnv"]}
    lines = [textwrap.fill(", ".join(names), 78, initial_indent=f"  {kind:<11}", subsequent_indent=" " * 13)
             for kind, names in kinds.items()]
    return "\n".join([*lines, "", "For example: myosu train tictactoe --minutes 2"])


def _own_flags(algorithm: str | None) -> list[tuple[str, Any, Any, str]]:
    """The command's own flags: name, type, default, help."""
    from myosu.training.trackers import TRACKERS

    return [
        ("game", Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="GAME|ENV")], None,
         "A game's name, a Gymnasium environment's id (module:Id-v0 imports the module first), module:MyEnv (a class "
         "or a function), the path of a .py file that has a game or an environment, godot:PROJECT, or unity:BUILD."),
        ("algorithm", str | None, algorithm,
         f"The algorithm: {', '.join(ALGORITHMS)}, or the path of your own .py file. By default muzero for two-player "
         "games, otherwise ppo."),
        ("preset", Path | None, None, "A .toml file of the algorithm's settings in place of those for this "
         "environment, such as myosu tune writes."),
        ("run", Path | None, None, "The run's folder; runs/GAME-ALGORITHM-TIME by default."),
        ("resume", Path | None, None, "Resume the run in this folder, or from one of its checkpoints."),
        ("rewards", Literal["score", "outcome"], "score", "score: the game's rewards; outcome: only winning counts."),
        ("opponent", str | None, None,
         "Plays the other seat of a two-player game, so that ppo, dqn and sac can learn it: random, greedy, "
         "alphabeta:DEPTH, mcts:SIMULATIONS, gtp:\"COMMAND\", the folder of a run, or pool: earlier versions of the "
         "learner. By default the learner has both seats."),
        ("env_kwargs", str, "{}", ENV_FLAGS["env_kwargs"]),
        ("wrapper", Annotated[tuple[str, ...], tyro.conf.UseAppendAction], (), ENV_FLAGS["wrapper"]),
        ("frame_stack", int | None, None, ENV_FLAGS["frame_stack"]),
        ("atari", bool, False, ENV_FLAGS["atari"]),
        ("max_episode_steps", int | None, None, ENV_FLAGS["max_episode_steps"]),
        ("track", Literal[TRACKERS] | None, None, f"Also log the run to another tracker: {', '.join(TRACKERS)}."),
        ("quiet", bool, False, "Show no progress."),
        ("cluster", str | None, None, "HOST:PORT of a Ray cluster's head, or auto: actors on all its machines "
         "(docs/scale.md)."),
        ("trust", bool, False, "With --resume: allow user code that the run names."),
    ]


def _options(algorithm: str | None, preset: dict[str, Any], only: Sequence[str] = ()) -> Any:
    """Make a dataclass of all flags: the command's own, then the fields of ``TrainConfig`` and of the algorithm's
    ``Config`` (None: of all algorithms). It does not validate them; ``TrainConfig`` and ``Config`` do. only: the flags
    to show in a short help, in this order."""
    from myosu.runs.config import TrainConfig
    from myosu.training.start import DEFAULT_MINUTES

    own = _own_flags(algorithm)
    help_of = {name: text for name, _, _, text in own}
    fields: list[tuple[str, Any, Any]] = [flag[:3] for flag in own]
    kinds = [TrainConfig, *(load_algorithm(name).Config for name in ([algorithm] if algorithm else ALGORITHMS))]
    for kind in kinds:
        types = get_type_hints(kind)
        values = {} if kind is TrainConfig else preset
        for field in dataclasses.fields(kind):
            if field.name in help_of:
                continue
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            fields.append((field.name, types[field.name], values.get(field.name, default)))
        help_of.update(field_docs(kind))
    help_of["minutes"] += f" {DEFAULT_MINUTES:g} where no limit is given."
    about = ("Train an agent on a game or an environment, or resume a run. The first limit that is reached ends it. "
             "Defaults are those that suit the environment.")
    if only:
        about += f"\n\nThese are the settings that people change first; --help-all shows all {len(fields)}."
        fields = sorted((field for field in fields if field[0] in only), key=lambda field: only.index(field[0]))
        # The short help leaves out what only says that a setting may be absent.
        fields = [(name, Annotated[kind, tyro.conf.DisallowNone], default) for name, kind, default in fields]
    return dataclasses.make_dataclass(
        "train", [(name, Annotated[kind, tyro.conf.arg(
            help=help_of.get(name, ""), help_behavior_hint="" if default is None and only else None)],
            dataclasses.field(default=default)) for name, kind, default in fields],
        namespace={"__doc__": about})


def all_options() -> Any:
    """Make a dataclass of the flags of all algorithms."""
    return _options(None, {})


def field_docs(kind: type) -> dict[str, str]:
    """The docstring of each field of a dataclass, including inherited fields."""
    inherited = {name: text for base in kind.__bases__ if dataclasses.is_dataclass(base)
                 for name, text in field_docs(base).items()}
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    return inherited | {field.target.id: " ".join(str(text.value.value).split()) for field, text in pairwise(body)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)}


def _algorithm_named(arguments: list[str]) -> str | None:
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if word == "--algorithm":
            return following
        if word.startswith("--algorithm="):
            return word.partition("=")[2]
    return None


def _is_given(name: str, arguments: list[str]) -> bool:
    words = {word.partition("=")[0].removeprefix("--").replace("_", "-") for word in arguments if word.startswith("--")}
    flag = name.replace("_", "-")
    return flag in words or f"no-{flag}" in words
