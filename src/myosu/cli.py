"""The command ``myosu``. A command's module is imported only when the command runs, so that help is fast."""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from myosu import __version__
from myosu.errors import UserError
from myosu.processes import one_thread

COMMANDS = {
    "demo": "play immediately against a small agent that comes with Myosu",
    "train": "train an agent on a game, or resume a run",
    "evaluate": "evaluate an agent in a match, with confidence intervals",
    "record": "record games between any players, or demonstrations of a run",
    "recipe": "run a pipeline of stages, such as AlphaGo's",
    "arena": "rate many players in one league",
    "episodes": "list the episodes of a run, or make videos of them",
    "play": "play against an agent, in the browser or in the terminal",
    "publish": "publish an agent as a page that needs no server",
    "export": "export the network of an agent to ONNX or torch.export files",
    "watch": "watch runs in the browser, during or after training",
    "gtp": "let an agent play in other programs, as a GTP engine",
    "plot": "draw learning curves of runs",
    "games": "list the games",
    "check": "find what is wrong with a game or an environment",
    "doctor": "find out why a run does not learn",
    "compare": "compare groups of runs statistically, over seeds",
    "tune": "search for the best settings of an algorithm",
    "card": "write a model card for an agent",
    "push": "share an agent on the Hugging Face Hub",
    "pull": "fetch an agent from the Hugging Face Hub",
    "bench": "measure the speed of this machine on a game",
    "completion": "print a script that completes these commands in your shell",
}

#: System errors that the user can fix by choosing another folder.
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ELOOP)

HELP = (
    "usage: myosu COMMAND ...\n\nTrain agents that play games, rate them honestly, play against them.\n\n"
    + "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    + "\n\nmyosu COMMAND --help shows a command's flags.\nStart with: myosu demo, or: myosu train tictactoe --minutes 2"
)


def next_steps() -> str:
    """The output of ``myosu`` without arguments: the next steps in this folder, which may have runs."""
    runs = sorted(Path("runs").glob("*/config.json"), key=lambda file: file.stat().st_mtime)
    if runs:
        run = runs[-1].parent
        steps = [(f"myosu watch {run}", "how it learns, in the browser"),
                 (f"myosu play {run}", "play against it (a board game)"),
                 (f"myosu evaluate {run}", "how good it is, with an interval"),
                 (f"myosu doctor {run}", "why it does not learn, if it does not"),
                 (f"myosu train --resume {run} --minutes 60", "train on")]
        text = f"Your latest run is {run}."
    else:
        steps = [("myosu demo", "play Connect Four against a small agent, now"),
                 ("myosu train tictactoe --minutes 2", "train an agent of your own"),
                 ("myosu train CartPole-v1 --env-steps 50000", "or on any Gymnasium environment"),
                 ("myosu games", "list the games")]
        text = "Train agents that play games, rate them honestly, play against them."
    width = max(len(command) for command, _ in steps)
    lines = "\n".join(f"  {command:<{width}}  {what}" for command, what in steps)
    return f"{text}\n\n{lines}\n\nAll commands: myosu --help"


def main() -> None:
    """Exit codes: 0 success, 1 a check found errors, 2 bad input, 130 interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command with these arguments. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # on an ASCII terminal a "?" is better than a traceback
    warnings.showwarning = _show_warning
    try:
        return _dispatch(arguments)
    except UserError as error:
        print(f"myosu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the pipe has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # the same, from rich
            return 0
        raise
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        print(f"myosu: {error.filename or 'The output'} cannot be written: {error.strerror}. Choose a "
              "folder where you may write, or free some space there.", file=sys.stderr)
        return 2


_show_as_python_does = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], filename: str, *rest: Any, **more: Any) -> None:
    """Print Myosu's own warnings as plain messages, without the line that they come from; print others as Python does.
    """
    if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parent):
        print(f"myosu: {message}", file=sys.stderr)
    else:
        _show_as_python_does(message, category, filename, *rest, **more)


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        print(next_steps())
        return 0
    if arguments[0] in ("--help", "-h", "help"):
        print(HELP)
        return 0
    name, *rest = arguments
    if name == "--version":
        print(f"myosu {__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Commands: {', '.join(COMMANDS)}."
        raise UserError(f"There is no command {name!r}. {hint}")
    one_thread()  # before any command imports NumPy
    return importlib.import_module(f"myosu.commands.{name}").main(rest)


if __name__ == "__main__":
    main()
