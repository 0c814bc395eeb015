"""Whole games in Quarry, an independent GTP controller, on a virtual display."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from myosu.envs.game_history import GameHistory
from myosu.games import load_game
from myosu.players.gtp import COLOURS, find_engine
from web_runs import untrained_run

QUARRY, GRHINO = find_engine("quarry"), find_engine("gtp-rhino")

pytestmark = pytest.mark.skipif(
    not (QUARRY and GRHINO and shutil.which("Xvfb") and shutil.which("xdotool")),
    reason="QUARRY, GRHINO, XVFB OR XDOTOOL IS NOT INSTALLED: run scripts/install_program.sh xdotool grhino quarry "
           "xvfb xdotool")

#: The settings of Quarry's dialogs. Time control 1: a time limit for the game; 3: main time, then a limit for ten
#: moves.
CONFIGURATION = """
[GTP Engine "GRhino"]
Name = "GRhino"
Command line = "{grhino} -l 1"
Supported games = "Reversi"

[GTP Engine "Myosu"]
Name = "Myosu"
Command line = "{myosu}"
Supported games = "Reversi"

[New Game Parameters]
Game = "Reversi"
White is computer = true
Engine playing white = "{white}"
Black is computer = true
Engine playing black = "{black}"

[New Reversi Game Parameters]
Board size = 8
Time control type = {control}
Time limit for game = 00:10
Main time = 00:01
Overtime period length = 00:05
Moves per overtime = 10
"""


@contextlib.contextmanager
def screen():
    """A virtual display in memory."""
    reading, writing = os.pipe()
    with subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
                          pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as number:
            display = f":{number.readline().strip()}"
        try:
            yield display
        finally:
            server.terminate()


def said(engine) -> list[tuple[str, str]]:
    """The controller's commands so far that were answered, with their answers."""
    commands = engine.with_suffix(".asked").read_text().splitlines()
    answers = engine.with_suffix(".answered").read_text().split("\n\n")
    return list(zip(commands, answers[:-1], strict=False))


def played(conversation: list[tuple[str, str]]) -> GameHistory:
    """Replay the game by the rules, with the passes that Quarry omits."""
    game = load_game("othello")
    history = GameHistory(game, 0)
    for command, answer in conversation:
        words = command.split()
        if words[0] not in ("play", "genmove"):
            continue
        action = game.parse_action((words[2] if words[0] == "play" else answer[2:]).lower())
        if history.legal_actions()[game.pass_action] and action != game.pass_action:
            history.play(game.pass_action)
        assert words[1] == COLOURS[history.now.to_play]
        history.play(action)  # raises an error if the action is illegal
    return history


@pytest.mark.parametrize("colour, control, settings", [("black", 1, "10 0 0"), ("white", 3, "1 5 10")])
def test_quarry_plays_a_whole_game_with_a_clock(tmp_path, colour, control, settings):
    run, engine = untrained_run(tmp_path / "run", "othello"), tmp_path / "engine"
    command = shlex.join([sys.executable, "-m", "myosu.cli", "gtp", str(run), "--simulations", "300"])
    engine.write_text(f"#!/bin/sh\ntee {shlex.quote(str(engine))}.asked | {command} | "
                      f"tee {shlex.quote(str(engine))}.answered\n")
    engine.chmod(0o755)
    seats = dict.fromkeys(COLOURS, "GRhino") | {colour: "Myosu"}
    (tmp_path / ".quarry").write_text(CONFIGURATION.format(grhino=GRHINO, myosu=engine, control=control, **seats))
    with screen() as display:
        surroundings = {**os.environ, "DISPLAY": display, "HOME": str(tmp_path)}

        def press(window: str, *keys: str) -> None:
            subprocess.run(["xdotool", "search", "--sync", "--onlyvisible", "--name", window,
                            *(word for key in keys for word in ("key", key))],
                           env=surroundings, check=True, capture_output=True, timeout=60)

        with subprocess.Popen([QUARRY], env=surroundings, stderr=subprocess.DEVNULL) as quarry:
            try:
                press("Quarry Control Center", "alt+n")
                press("New Game", "alt+f", "alt+p")  # the buttons Forward and Play
                press("Myosu")  # the window of the board
                deadline = time.monotonic() + 120
                while not (history := played(conversation := said(engine))).now.over and time.monotonic() < deadline:
                    assert quarry.poll() is None
                    time.sleep(0.2)
            finally:
                quarry.kill()
    assert history.now.over, conversation[-3:]
    assert [answer for _, answer in conversation if not answer.startswith("=")] == []
    commands = [command for command, _ in conversation]
    assert f"time_settings {settings}" in commands and any(line.startswith(f"time_left {colour}") for line in commands)
