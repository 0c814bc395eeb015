"""``myosu completion``: print a script that completes these commands in your shell."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import Positional

from myosu.commands.options import parse

#: Stands for the folders of the runs below runs/, which the shell lists whenever it completes.
RUNS = "RUNS"


@dataclass
class Options:
    """Print a script that completes commands, flags, games, runs and players in your shell.

    bash: myosu completion bash > ~/.local/share/bash-completion/completions/myosu

    zsh: myosu completion zsh > a folder of your fpath, as _myosu

    fish: myosu completion fish > ~/.config/fish/completions/myosu.fish
    """

    shell: Annotated[Positional[Literal["bash", "zsh", "fish"]], tyro.conf.arg(metavar="SHELL")]
    """Your shell: bash, zsh or fish."""


@dataclass
class Command:
    """What follows a command: words for its positional arguments; for each flag its help and the words for its value
    (None: it takes no value; empty: file names)."""

    words: list[str]
    flags: dict[str, tuple[str, list[str] | None]]


def main(arguments: list[str]) -> int:
    options = parse(Options, "completion", arguments)
    commands = describe_commands()
    if options.shell == "fish":
        print(_fish(commands))
    else:
        print(_bash(commands, zsh=options.shell == "zsh"))
    return 0


def describe_commands() -> dict[str, Command]:
    from myosu.cli import COMMANDS
    from myosu.commands import train

    words = _words_of_kinds()
    commands = {name: _describe(train.all_options() if name == "train"
                                else importlib.import_module(f"myosu.commands.{name}").Options, words)
                for name in COMMANDS}
    commands["train"].flags["--help-all"] = ("show all settings", None)
    return commands


def _words_of_kinds() -> dict[str, list[str]]:
    """The words that are offered for arguments, by metavar or by flag."""
    from myosu.algorithms import ALGORITHMS
    from myosu.commands.train import gymnasium_environments
    from myosu.games import game_names
    from myosu.recipes.recipe import recipe_names

    players = ["random", "greedy", "alphabeta:2", "mcts:100", RUNS]
    return {"GAME": game_names(), "ENV": gymnasium_environments(), "RUN": [RUNS], "PLAYER": players,
            "RECIPE": recipe_names(), "--algorithm": list(ALGORITHMS), "--resume": [RUNS], "--baseline": [RUNS],
            "--opponent": players, "--evaluation-opponent": players}


def _describe(kind: Any, words: dict[str, list[str]]) -> Command:
    from myosu.commands.train import field_docs

    hints = get_type_hints(kind, include_extras=True)
    docs = {} if kind.__name__ == "train" else field_docs(kind)  # the help of train's flags is in its annotations
    command = Command([], {})
    for field in fields(kind):
        hint = hints[field.name]
        extras = getattr(hint, "__metadata__", ())
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        settings = next((extra for extra in extras if hasattr(extra, "metavar")), None)
        choices = [str(word) for part in (hint, *get_args(hint)) if get_origin(part) is Literal
                   for word in get_args(part)]
        if any(extra is POSITIONAL for extra in extras):
            kinds = (settings.metavar if settings else "").split("|")
            command.words += choices or [word for name in kinds for word in words.get(name, ())]
            continue
        flag = "--" + field.name.replace("_", "-")
        help_text = docs.get(field.name) or (settings and settings.help) or ""
        if hint is bool:
            command.flags |= {flag: (help_text, None), f"--no-{flag[2:]}": (help_text, None)}
            continue
        for name in (flag, *((settings.aliases if settings else None) or ())):
            command.flags[name] = (help_text, choices or words.get(flag, []))
    return command


POSITIONAL = Positional[int].__metadata__[0]  # type: ignore[attr-defined]


def _bash(commands: dict[str, Command], zsh: bool) -> str:
    """The script for bash, which zsh understands too."""
    of_flags = [f'    "{name} {flag}") words="{" ".join(words)}" ;;' for name, command in commands.items()
                for flag, (_, words) in command.flags.items() if words]
    flags = [f'    {name}) words="{" ".join(["--help", *command.flags])}" ;;' for name, command in commands.items()]
    positional = [f'    {name}) words="{" ".join(command.words)}" ;;' for name, command in commands.items()]
    lines = [
        "_myosu_words() {",
        '  local cur="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" name="${COMP_WORDS[1]}"',
        *(["  setopt local_options null_glob"] if zsh else []),
        '  local words="" file run typed',
        "  if [[ $COMP_CWORD == 1 ]]; then",
        f'    words="{" ".join(commands)}"',
        "  elif [[ $cur == -* ]]; then",
        '    case "$name" in', *flags, "    esac",
        "  elif [[ $previous == -* ]]; then",
        '    case "$name $previous" in', *of_flags, "    esac",
        "  else",
        '    case "$name" in', *positional, "    esac",
        "  fi",
        f'  COMPREPLY=($(compgen -W "${{words/{RUNS}/}}" -- "$cur"))',
        f"  if [[ $words == *{RUNS}* ]]; then",
        # What was typed of a name: after an opening quote, or with spaces escaped, as the names are then offered.
        '    [[ $cur == [\\"\\\']* ]] && typed="${cur:1}" || typed="${cur//\\\\/}"',
        "    for file in runs/*/config.json; do",
        '      run="${file%/config.json}"',
        '      if [[ -f $file && $run == "$typed"* ]]; then',
        '        [[ $cur == [\\"\\\']* ]] || run="$(printf %q "$run")"',
        '        COMPREPLY+=("$run")',
        "      fi",
        "    done",
        "  fi",
        "}",
    ]
    if not zsh:
        return "\n".join([*lines, "complete -o default -F _myosu_words myosu"])
    return "\n".join(["#compdef myosu", "autoload -U +X bashcompinit && bashcompinit", *lines,
                      "_bash_complete -o default -F _myosu_words"])


def _fish(commands: dict[str, Command]) -> str:
    from myosu.cli import COMMANDS

    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def offered(words: list[str]) -> str:
        return quoted(" ".join("(path dirname runs/*/config.json)" if word == RUNS else word for word in words))

    lines = []
    for name, command in commands.items():
        after = f"complete -c myosu -n '__fish_seen_subcommand_from {name}'"
        lines.append(f"complete -c myosu -n __fish_use_subcommand -f -a {name} -d {quoted(COMMANDS[name])}")
        if command.words:
            lines.append(f"{after} -a {offered(command.words)}")
        for flag, (help_text, words) in command.flags.items():
            value = "" if words is None else f" -r -a {offered(words)}" if words else " -r"
            kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            lines.append(f"{after} {kind}{value} -d {quoted(help_text.partition('. ')[0])}")
    return "\n".join(lines)
