"""A minute of training in which every second an engine is killed, stopped, or sends invalid data.

    .venv/bin/python benchmarks/killed_engines.py [--seconds 60] [--game godot|fake]

PPO trains on the Godot catch example, and each second one of its engines is killed, or stopped so that it hangs. With
``fake`` the game is that of tests/fake_godot.py, which can also be made to send invalid data. Passes if the training
ends by itself, on time, and has counted every failure.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WHAT = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP, "made to send nonsense": signal.SIGUSR1}


def engines(parent: int, word: bytes) -> list[int]:
    """Running child processes of ``parent`` with ``word`` in their command, from /proc."""
    found = []
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        process = Path(f"/proc/{pid}")
        # T: already stopped. As long as the command is still the launcher's, the process has not become the engine.
        if (word in (process / "cmdline").read_bytes() and b"prctl" not in (process / "cmdline").read_bytes()
                and (process / "stat").read_text().rpartition(")")[2].split()[0] not in "TZ"):
            found.append(int(pid))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--game", choices=["godot", "fake"], default="godot")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    game, kinds, word = ROOT / "examples" / "godot_catch", ["killed", "stopped"], b"godot_catch"
    if options.game == "fake":
        game, kinds, word = folder / "game", list(WHAT), b"fake_godot"
        game.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{ROOT / 'tests' / 'fake_godot.py'}' plain \"$@\"\n")
        game.chmod(0o755)
    command = [sys.executable, "-m", "myosu.cli", "train", f"godot:{game}", "--num-envs", "4", "--env-kwargs",
               '{"answer_timeout": 1}', "--minutes", str(options.seconds / 60), "--evaluate-every", "0", "--quiet",
               "--run", str(folder / "run")]
    begin, done = time.monotonic(), dict.fromkeys(kinds, 0)
    training = subprocess.Popen(command)
    while training.poll() is None:
        time.sleep(1)
        running = engines(training.pid, word) if training.poll() is None else []
        # No failures at the run's start and end, when engines are still starting or already shutting down. One at a
        # time, because a second failure of an engine that is already lost is not counted.
        if len(running) == 4 and 5 < time.monotonic() - begin < options.seconds - 5:
            kind = random.choice(kinds)
            os.kill(random.choice(running), WHAT[kind])
            done[kind] += 1
    last = json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    print(f"exit code {training.returncode} after {time.monotonic() - begin:.0f} s; "
          f"{', '.join(f'{count} {kind}' for kind, count in done.items())}; {last['env_restarts']} restarts counted, "
          f"{last['env_steps']:,} steps, {last['games']:,} episodes")
    sys.exit(training.returncode or (last["env_restarts"] != sum(done.values())))


if __name__ == "__main__":
    main()
