"""``myosu completion``: print a script that completes these commands in your shell."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional


@dataclass
class Options:
    """Print a script that completes the commands and flags of myosu in your shell.

    bash: myosu completion bash > ~/.local/share/bash-completion/completions/myosu ;
    zsh: myosu completion zsh > a folder of your fpath, as _myosu ;
    fish: myosu completion fish > ~/.config/fish/completions/myosu.fish
    """

    shell: Annotated[Positional[Literal["bash", "zsh", "fish"]], tyro.conf.arg(metavar="SHELL")]
    """Your shell: bash, zsh or fish."""


def main(arguments: list[str]) -> int:
    options = tyro.cli(Options, prog="myosu completion", args=arguments)
    from myosu.cli import COMMANDS
    from myosu.commands import train

    kinds = {name: train.all_options() if name == "train" else importlib.import_module(f"myosu.commands.{name}").Options
             for name in COMMANDS}
    tyro.extras.subcommand_cli_from_dict(kinds, prog="myosu", args=["--tyro-print-completion", options.shell])
    return 0  # not reached: tyro ends the process after printing
