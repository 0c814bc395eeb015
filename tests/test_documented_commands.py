"""The nightly script scripts/documented_commands.py knows every command of the documentation: it runs it, or says what
runs it elsewhere."""

import importlib.util
import re
from pathlib import Path

from myosu.cli import COMMANDS

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("documented_commands", ROOT / "scripts" / "documented_commands.py")
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)


def test_every_documented_command_is_run_or_excused():
    documented = script.documented()
    assert len(documented) > 80
    made = {command: script.shortened(command) for command in documented if not script.why_not(command)}
    assert len(made) > 50 and {words[0] for words in made.values()} <= set(COMMANDS)
    # Nothing is named that is the reader's: the script makes seven runs, nim.py and preset.toml.
    left = {word for words in made.values() for word in words if re.search(r"\b(NAME|RUN|FOLDER|ENV|FILE)\b", word)}
    runs = {run for words in made.values() for word in words for run in re.findall(r"runs/[\w*-]+", word)}
    assert left == set()
    assert runs == {f"runs/{name}" for name in ("first", "second", "pole", "go", "othello", "resumed",
                                                   "resumed-pole")}
    resumed = [words[2] for words in made.values() if "--resume" in words]
    assert sorted(resumed) == sorted(set(resumed)), "a run that is resumed twice is at its limit"


def test_training_limits_are_shortened():
    assert script.shortened("train othello --minutes 60")[2:4] == ["--minutes", "0.05"]
    assert script.shortened("train --resume runs/NAME --minutes 60")[2:5] == ["runs/resumed", "--updates", "12"]
    assert script.shortened("tune CartPole-v1 --algorithm ppo")[-4:] == ["--env-steps", "1000", "--trials", "2"]
    assert script.shortened("train nim.py")[-2:] == ["--minutes", "0.05"]
    assert script.shortened("play CartPole-v1 play it yourself") == ["play", "CartPole-v1", "--no-browser"]


def test_reasons_for_skipped_commands_exist():
    named = re.findall(r"(?:tests|docs)/[\w/.-]+\.(?:py|md)", " ".join(script.SKIPPED.values()))
    assert len(named) > 5 and [path for path in named if not (ROOT / path).is_file()] == []
    documented = script.documented()
    unused = [pattern for pattern in script.SKIPPED if not any(re.search(pattern, command) for command in documented)]
    assert unused == []
