"""The script for a visit to a card, tried on the CPU with small sizes."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_device_check_runs_every_part_on_a_cpu(tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "device_check.sh", tmp_path, "", "--device", "cpu", "--tiny", "--parts",
         "about,network,selfplay,learner,othello,pictures,sac_pictures", "--games", "CPU:2x8"],
        env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "device.json").read_text())
    assert not {name: part["error"] for name, part in found.items() if "error" in part}
    assert found["about"]["card"] == "none"
    assert found["selfplay"]["trees on the CPU, 2 x 8 games"]["simulations_per_second"] > 0
    assert found["learner"]["batch 16"]["samples_per_second"] > 0
    assert found["othello"]["last"]["update"] == 2
    assert (tmp_path / "othello.tar").stat().st_size > 100_000
