"""Trains with each preset for a short time and counts the doctor's false alarms:

    python scripts/measure_healthy_runs.py FOLDER --minutes 0.75 --seeds 1 2 3 --only dqn

Prints one line per run: the findings while it trained (``findings.jsonl``) and those of ``myosu doctor RUN --minutes
0``. Runs that are already in FOLDER are only examined again. Presets for families (boards, Atari) are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import myosu
from myosu import doctor

PRESETS = Path(myosu.__file__).parent / "presets"
FAMILIES = ("board", "atari")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", default="0.75")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", nargs="*", default=[], help="runs whose ALGORITHM/GAME contains one of these")
    options = parser.parse_args()
    names = sorted(f"{path.parent.name}/{path.stem}" for path in PRESETS.glob("*/*.toml")
                   if path.stem not in FAMILIES and (not options.only or any(
                       word in f"{path.parent.name}/{path.stem}" for word in options.only)))
    runs = alarms = 0
    for seed in options.seeds:
        for name in names:
            algorithm, game = name.split("/")
            run = options.folder / f"{algorithm}-{game}-{seed}"
            if not run.exists():
                trained = subprocess.run([sys.executable, "-m", "myosu", "train", game, "--algorithm", algorithm,
                                          "--minutes", options.minutes, "--seed", str(seed), "--run", run],
                                         capture_output=True, text=True)
                if trained.returncode:
                    print(f"FAILED   {name} seed {seed}: {trained.stderr[-300:]}", flush=True)
                    continue
            said = run / "findings.jsonl"
            during = [json.loads(line) for line in said.read_text().splitlines()] if said.exists() else []
            told = {f"{f['check']}: {f['message'][:200]}": f["severity"] for f in during} | {
                f"{f.check}: {f.message[:200]}": f.severity for f in doctor(run, minutes=0).findings}
            loud = {text: severity for text, severity in told.items() if severity != "info"}
            runs, alarms = runs + 1, alarms + bool(loud)
            notes = ", ".join(text.split(":")[0] for text, severity in told.items() if severity == "info")
            print(f"{'ALARM' if loud else 'healthy':<9}{name} seed {seed}" + (f"  (notes: {notes})" if notes else ""),
                  *(f"\n          {severity} {text}" for text, severity in loud.items()), flush=True)
    print(f"\n{runs} runs, {alarms} with a false alarm")


if __name__ == "__main__":
    main()
