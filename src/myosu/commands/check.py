"""``myosu check``: find what is wrong with a game or an environment."""

from __future__ import annotations

import dataclasses
import json as json_module
from dataclasses import dataclass
from typing import Annotated

import tyro
from tyro.conf import Positional, UseAppendAction

from myosu.commands.options import ENV_FLAGS, check_seed, parse, read_environment_flags
from myosu.errors import UserError


@dataclass
class Options:
    """Play a game or a Gymnasium environment at random, and report in plain words what is wrong with it."""

    game: Annotated[Positional[str], tyro.conf.arg(metavar="GAME|ENV")]
    """A game's name, a Gymnasium environment's id (module:Id-v0 imports the module first), module:MyEnv (a class or a
    function), or the path of a .py file that has a game or an environment."""
    games: int | None = None
    """Number of random games, 200 by default; or of episodes of an environment, at most 50, fewer if they are long."""
    seed: int = 0
    """Seed of the random games."""
    env_kwargs: Annotated[str, tyro.conf.arg(help=ENV_FLAGS["env_kwargs"])] = "{}"
    wrapper: Annotated[tuple[str, ...], UseAppendAction, tyro.conf.arg(help=ENV_FLAGS["wrapper"])] = ()
    frame_stack: Annotated[int | None, tyro.conf.arg(help=ENV_FLAGS["frame_stack"])] = None
    atari: Annotated[bool, tyro.conf.arg(help=ENV_FLAGS["atari"])] = False
    max_episode_steps: Annotated[int | None, tyro.conf.arg(help=ENV_FLAGS["max_episode_steps"])] = None
    json: bool = False
    """Print JSON only."""


def main(arguments: list[str]) -> int:
    """Returns exit code 1 if an error was found, 2 if the environment hung or crashed during the examination."""
    options = parse(Options, "check", arguments)
    check_seed(options.seed)
    from myosu.doctor.apart import examine_apart, was_cut_short

    if options.games is not None and options.games < 1:
        raise UserError(f"--games {options.games}: it must be 1 or more.")
    kwargs = read_environment_flags(**{flag: getattr(options, flag) for flag in ENV_FLAGS})
    name, is_game, findings = examine_apart(options.game, kwargs, options.games, options.seed)
    failed = any(finding.severity == "error" for finding in findings)
    if options.json:
        print(json_module.dumps({"game": name, "ok": not failed,
                                 "findings": [dataclasses.asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            print(finding, end="\n\n")
        print(f"{name}: {_verdict(is_game, failed, options.games)}")
    return 2 if was_cut_short(findings) else int(failed)


def _verdict(is_game: bool, failed: bool, games: int | None) -> str:
    if is_game:
        return f"the rules {'break the contract' if failed else 'hold'} ({games or 200} random games)"
    return f"the environment {'breaks' if failed else 'keeps'} the contract"
