"""A minute of training in which a worker process is killed every second.

    .venv/bin/python benchmarks/killed_workers.py [--seconds 60]

PPO learns CartPole with asynchronous workers. Passes if the training ends by itself, on time, and has counted every
kill.
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


def worker_processes(parent: int) -> list[int]:
    """Child processes of ``parent`` that run an environment, from /proc."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    seconds = parser.parse_args().seconds
    run = Path(tempfile.mkdtemp()) / "run"
    command = [sys.executable, "-m", "myosu.cli", "train", "CartPole-v1", "--algorithm", "ppo", "--env-workers",
               "asynchronous", "--minutes", str(seconds / 60), "--evaluate-every", "0", "--quiet", "--run", str(run)]
    begin, killed = time.monotonic(), 0
    training = subprocess.Popen(command)
    while training.poll() is None:
        time.sleep(1)
        workers = worker_processes(training.pid) if training.poll() is None else []
        # No kills at the run's start and end, when workers are still starting or already shutting down.
        if len(workers) >= 8 and time.monotonic() - begin < seconds - 3:
            os.kill(random.choice(workers), signal.SIGKILL)
            killed += 1
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    print(f"exit code {training.returncode} after {time.monotonic() - begin:.0f} s; {killed} workers killed, "
          f"{last['env_restarts']} restarts counted, {last['env_steps']:,} steps, {last['games']:,} episodes")
    sys.exit(training.returncode or (last["env_restarts"] != killed))


if __name__ == "__main__":
    main()
