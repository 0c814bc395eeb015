"""Runs every `myosu` command in the documentation's code blocks briefly: documented_commands.py [--folder F] [WORD ...]

Meant for a nightly job: it takes about ten minutes. The runs and files that the commands need are first created in a
temporary folder, or in --folder, which is kept: then the next call starts at once. Limits such as --minutes are
reduced. With WORDs, only commands that contain one of them run. Each line of output names a command and says whether
it ran, failed, or was skipped and why. The exit code is 1 if a command failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
#: Ends a command that hangs, also on a busy machine.
SECONDS = 600

#: Patterns of commands that are skipped, with the reason: they need something that this machine lacks or must not
#: touch.
SKIPPED = {
    r"unity:": "needs a game built by Unity (tests/envs/test_unity.py speaks its protocol)",
    r"--cluster": "needs a Ray cluster (tests/sources/test_ray.py starts one)",
    r"^(push|pull) ": "needs an account at the Hugging Face Hub (tests/sharing/test_sharing.py has a local stand-in)",
    r"--track": "needs an account at a tracker (tests/training/test_trackers.py has stand-ins)",
    r"othello-muzero": "plays an agent pulled from the Hub",
    r"^recipe ": "takes an hour (tests/recipes/test_recipe.py runs a small one)",
    r"minari": "needs a dataset of the user's own (tests/runs/test_minari.py has one)",
    r"--env-kwargs": "needs a package of the user's own",
    r"^arena add": "continues a league of the user's own",
    r"apv:|rollout=": "needs the networks of AlphaGo's pipeline",
    r"runs/(supervised|reinforced|value)|games/(expert|selfplay)|go9-features": "is a stage of AlphaGo's pipeline",
    r"reinforce\.py": "is the file of docs/new-algorithm.md (tests/algorithms/test_new_algorithm_page.py runs it)",
    r"catch|godot:": "is a step of docs/studio.md (tests/envs/test_godot.py goes through it)",
    r"my_(package|env)|mygame|\bmine:": "needs a file of the user's own",
    r"\bENV\b|…": "names no environment",
    r"RUN/played": "needs games that the user played",
    r"runs/teacher": "learns from a run of the user's own",
    r"runs/zoo": "needs a run in PettingZoo (tests/players/test_against_agents.py has runs in a game of its kind)",
}
#: Programs that a command needs.
PROGRAMS = {"gtp-rhino": "gtp-rhino", "gnugo": "gnugo"}
#: Python packages that a command needs in addition to those of requirements-dev.lock.
PACKAGES = {"envpool:": "envpool"}
#: Patterns in commands and their replacements by things that exist here, applied in order.
STANDINS = [
    (r"(?<=^evaluate )runs/NAME(?= --opponent .?gtp:gtp-rhino)", "runs/othello"),
    (r"(?<=^episodes )runs/NAME|runs/NAME(?= --games 100 --json)|runs/NAME(?= --env-steps)", "runs/pole"),
    (r"(?<=^evaluate )RUN", "runs/go"), (r"--resume runs/pole .*", "--resume runs/resumed-pole --updates 400"),
    (r"--resume (?!runs/resumed)\S+ .*", "--resume runs/resumed --updates 12"),
    (r"runs/(NAME|RUN|A|s3-40|snake-1)\b|\bRUN\b", "runs/first"), (r"runs/(B|o10-1|snake-2)\b", "runs/second"),
    (r"runs/new-\*", "runs/first"), (r"runs/old-\*", "runs/second"), (r"studies/\S+\.toml", "preset.toml"),
    (r"(?<=arena )othello", "tictactoe"), (r"\b(a page in|the same in|what you play|play it|watch the).*", ""),
    (r"--minutes \S+", "--minutes 0.05"), (r"--env-steps \S+", "--env-steps 1000"), (r"--games \S+", "--games 4"),
    (r"--trials \S+", "--trials 2"), (r"--simulations \S+", "--simulations 4"), (r"\bFOLDER\b", "recorded"),
]


def documented() -> dict[str, str]:
    """The commands without the word `myosu`, and the page of each."""
    found: dict[str, str] = {}
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]):
        if "log" in page.parts:
            continue
        blocks = "\n".join(FENCE.findall(page.read_text())).replace("\\\n", " ")
        for line in blocks.splitlines():
            if (line := line.removeprefix("$ ")).startswith("myosu "):
                found.setdefault(shlex.join(shlex.split(line, comments=True)[1:]), page.name)
    return found


def why_not(command: str) -> str:
    """The reason why a command is skipped; "" if it runs."""
    plain = " ".join(shlex.split(command))
    for pattern, reason in SKIPPED.items():
        if re.search(pattern, plain):
            return reason
    missing = [f"needs {program}" for word, program in PROGRAMS.items()
               if word in plain and not (shutil.which(program) or Path(f"/usr/games/{program}").exists())]
    missing += [f"needs the package {package}" for word, package in PACKAGES.items()
                if word in plain and not importlib.util.find_spec(package)]
    return " and ".join(missing)


def shortened(command: str) -> list[str]:
    """The words of the command after ``STANDINS``, with small limits."""
    for pattern, instead in STANDINS:
        command = re.sub(pattern, instead, command)
    words = shlex.split(command)
    if words[0] == "train":
        words += ["--evaluation-games", "4"] * ("cloning" not in words)
        words += [] if {"--minutes", "--env-steps", "--updates"} & set(words) else ["--minutes", "0.05"]
    if words[0] == "tune":
        words += ["--env-steps", "1000"] * ("--env-steps" not in words) + ["--trials", "2"] * ("--trials" not in words)
    if words[0] == "evaluate" and "--games" not in words:
        words += ["--games", "4"]
    if words[0] in ("play", "watch") and "--terminal" not in words:
        words.append("--no-browser")
    return [*words, "--terminal"] if words == ["demo"] else words


def run(words: list[str], folder: Path) -> str:
    """Run the command; returns an error message, "" if it succeeded."""
    process = subprocess.Popen([sys.executable, "-m", "myosu", *words], cwd=folder, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdin and process.stdout
    timer = threading.Timer(SECONDS, process.kill)
    timer.start()
    try:
        if "--no-browser" in words:
            said = ""
            while not (address := re.search(r"http://\S+", said)):  # libraries such as SDL may print lines before it
                if not (line := process.stdout.readline()):
                    return said
                said += line
            with urllib.request.urlopen(address[0], timeout=30) as answer:
                return "" if b"<title>" in answer.read() else "its page is empty"
        said, _ = process.communicate("quit\n")
        return "" if process.returncode == 0 else f"exit code {process.returncode}: {said[-1500:]}"
    finally:
        timer.cancel()
        process.terminate()
        process.wait(20)


def prepare(folder: Path) -> None:
    """Create two runs of tic-tac-toe with evaluations, one run each of CartPole, Go and Othello, a game and a
    preset."""
    shutil.copy(ROOT / "examples" / "nim.py", folder)
    (folder / "preset.toml").write_text("learning_rate = 1e-3\n")
    # Limited by updates, because on a busy machine compilation alone may take minutes.
    evaluated = ["--updates", "8", "--evaluate-every", "4"]
    for name, words in (("first", ["tictactoe", *evaluated]), ("second", ["tictactoe", "--seed", "1", *evaluated]),
                        ("pole", ["CartPole-v1", "--algorithm", "ppo", "--updates", "320"]),
                        ("go", ["go9", "--minutes", "0.1"]), ("othello", ["othello", "--minutes", "0.1"])):
        if (folder / "runs" / name / "checkpoints").is_dir():
            continue
        if wrong := run(["train", *words, "--evaluation-games", "4", "--run", f"runs/{name}"], folder):
            sys.exit(wrong)
    for name, copy in (("first", "resumed"), ("pole", "resumed-pole")):  # anew, because a run is resumed once
        shutil.rmtree(folder / "runs" / copy, ignore_errors=True)
        shutil.copytree(folder / "runs" / name, folder / "runs" / copy)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    wanted = {command: page for command, page in documented().items()
              if not arguments.words or any(word in command for word in arguments.words)}
    failed, skipped = 0, 0
    with tempfile.TemporaryDirectory(prefix="myosu-commands-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        for command, page in wanted.items():
            reason = why_not(command)
            words = [] if reason else shortened(command)
            wrong = "" if reason else run(words, folder)
            skipped, failed = skipped + bool(reason), failed + bool(wrong)
            state = f"skipped, it {reason}" if reason else f"FAILED as {shlex.join(words)}\n{wrong}" if wrong else "ran"
            print(f"{page}: myosu {command}: {state}", flush=True)
    print(f"{len(wanted)} commands: {len(wanted) - skipped - failed} ran, {skipped} were skipped, {failed} failed.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
