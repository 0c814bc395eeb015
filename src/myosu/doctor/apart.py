"""Runs an examination in a separate process, which may hang, crash or exit. Findings up to then are kept."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import gymnasium

from myosu.doctor.finding import Finding, by_severity
from myosu.envs.python_objects import note_registration, pack_object, unpack_object
from myosu.errors import UserError, describe
from myosu.processes import end, end_with, spawn

#: Time limit of an examination in seconds; and the time without a sign of life before its end, in seconds or as a
#: fraction of the limit but never less than the last number of seconds, that counts as a hang. A busy machine slows
#: down healthy environments.
SECONDS = 55.0
_STALLED, _STALLED_SHARE, _STALLED_LEAST = 20.0, 0.6, 8.0
#: Findings after which nothing more could be examined.
CUT_SHORT = frozenset({"crash", "hang"})


def examine_apart(name: str, kwargs: Mapping[str, Any], games: int | None, seed: int,
                  seconds: float = SECONDS) -> tuple[str, bool, list[Finding]]:
    """Run ``check_game`` or ``check_gym`` on the environment ``name`` (see ``load_environment``) in its own process.

    Returns the environment's name, whether it is a game of Myosu's own, and the findings. Raises UserError if it cannot
    be loaded.
    """
    if name in gymnasium.registry:
        note_registration(name)
    process, connection = spawn(_examine, name, pack_object(name), dict(kwargs), games, seed)
    moved = time.monotonic()
    until, calls = moved + max(seconds, SECONDS), -1
    kind, is_game, findings = name, False, []
    finished = False
    try:
        while not finished and connection.poll(max(0.0, until - time.monotonic())):
            what, value = connection.recv()
            if what == "unusable":
                raise UserError(value)
            if what == "name":
                kind, is_game = value
                moved = time.monotonic()
                until = moved + seconds  # loading, compiling and making the environment do not count
            elif what == "finding":
                findings.append(value)
            elif what == "alive" and (value != calls or is_game):
                moved, calls = time.monotonic(), value
            finished = what == "finished"
    except (EOFError, ConnectionError):
        process.join(5)
        findings.append(Finding("error", "crash", f"{kind} ended the process that examined it (exit code "
                                f"{process.exitcode}).", "Training would crash in the same way: look for os._exit, "
                                "crashes of compiled code and memory. What was found before stands."))
        finished = True
    finally:
        process.kill()
        end(process)
    if not finished:
        played = any(finding.check == "episodes" for finding in findings)  # later checks may compute for long
        stalled = time.monotonic() - moved >= max(min(_STALLED, _STALLED_SHARE * seconds), _STALLED_LEAST)
        findings.append(_too_long(kind, seconds, stalled and not played))
    return kind, is_game, by_severity(findings)


def was_cut_short(findings: list[Finding]) -> bool:
    """Whether the environment hung or crashed, so that a part of the examination was not possible."""
    return any(finding.check in CUT_SHORT for finding in findings)


def _too_long(name: str, seconds: float, hangs: bool) -> Finding:
    if not hangs:
        return Finding("info", "unjudged", f"not judged: everything after {seconds:.0f} s; {name} is slow, "
                       "or the machine is busy.")
    return Finding("error", "hang", f"{name} did not return: after {seconds:.0f} s random play had still not ended.",
                   "A step or a reset hangs, or takes many seconds: look for endless loops and for waiting on "
                   "something outside.")


def _examine(connection: Connection, parent: int, name: str, packed_object: bytes, kwargs: dict[str, Any],
             games: int | None, seed: int) -> None:
    end_with(parent)
    unpack_object(packed_object)
    from myosu.doctor.check_game import check_game
    from myosu.doctor.check_gym import check_gym
    from myosu.doctor.gym_play import Watch
    from myosu.envs.registry import load_environment

    lock = threading.Lock()

    def tell(what: str, value: Any) -> None:
        with lock:
            connection.send((what, value))

    def on_finding(finding: Finding) -> None:
        tell("finding", finding)

    def beat() -> None:
        """Report every second how many calls have returned. Compiled rules in an endless loop block this thread too."""
        while True:
            time.sleep(1.0)
            tell("alive", Watch.calls)

    threading.Thread(target=beat, daemon=True).start()
    with contextlib.redirect_stdout(sys.stderr):  # an environment may print what it likes
        try:
            environment = load_environment(name, kwargs)
            if environment.game is not None:
                tell("name", (environment.game.name, True))
                check_game(environment.game, games or 200, seed, on_finding)
            else:
                assert environment.maker is not None
                tell("name", (environment.name, False))
                check_gym(environment.maker, games or 50, seed, on_finding)
        except UserError as error:
            tell("unusable", str(error))
        except SystemExit as error:
            tell("unusable", f"{name} tried to end the program while it was made: sys.exit({error.code}).")
        except Exception as error:
            on_finding(Finding("error", "crash", f"{name} cannot be examined any further: {describe(error)}.",
                               "What was found before stands. If the cause is not in the environment, it is a fault of "
                               "Myosu: please report it."))
    tell("finished", None)
    sys.stderr.flush()
    os._exit(0)  # even if the environment left threads running
