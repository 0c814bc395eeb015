"""Trains with each preset for a short time and counts the runs that the doctor warns about:

    python scripts/measure_healthy_runs.py FOLDER --minutes 0.75 --seeds 1 2 3 --only dqn

Prints one line per run: the findings while it trained (``findings.jsonl``) and those of ``myosu doctor RUN --minutes
0``. It can be interrupted and started again: runs that have ended are only examined again, others are trained anew.
Presets for families (boards, Atari) are left out, and so is cloning, which needs recordings.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import myosu
from myosu import doctor
from myosu.doctor.attending import read_findings
from myosu.presets import KINDS

PRESETS = Path(myosu.__file__).parent / "presets"
NEEDS_RECORDINGS = ("cloning",)


def main() -> int:
    """Returns exit code 1 if a run was warned about or could not be trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", default="0.75")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 21)))
    parser.add_argument("--only", nargs="*", default=[], help="runs whose ALGORITHM/GAME contains one of these")
    options = parser.parse_args()
    names = sorted(f"{path.parent.name}/{path.stem}" for path in PRESETS.glob("*/*.toml")
                   if path.stem not in KINDS and path.parent.name not in NEEDS_RECORDINGS
                   and (not options.only or any(word in f"{path.parent.name}/{path.stem}" for word in options.only)))
    options.folder.mkdir(parents=True, exist_ok=True)
    judged: list[bool] = []
    failed = 0
    try:
        for seed in options.seeds:
            for name in names:
                run = options.folder / f"{name.replace('/', '-')}-{seed}"
                if (error := trained(run, name, seed, options.minutes)) is not None:
                    failed += 1
                    print(f"FAILED   {name} seed {seed}: {error}", flush=True)
                    continue
                judged.append(is_warned_about(run, f"{name} seed {seed}"))
    finally:
        print(f"\n{len(judged)} of {len(names) * len(options.seeds)} runs, {sum(judged)} with a warning, "
              f"{failed} failed", flush=True)
    return int(any(judged) or failed > 0)


def trained(run: Path, name: str, seed: int, minutes: str) -> str | None:
    """Train ``run`` unless it has ended already. Returns the error, if any."""
    if run.exists():
        return None
    algorithm, game = name.split("/")
    begun = run.with_name(f"{run.name}.begun")  # renamed at the end, so that an interrupted run is trained anew
    shutil.rmtree(begun, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "myosu", "train", game, "--algorithm", algorithm, "--minutes", minutes,
                           "--seed", str(seed), "--run", begun], capture_output=True, text=True)
    if done.returncode:
        return done.stderr[-300:]
    begun.rename(run)
    return None


def is_warned_about(run: Path, title: str) -> bool:
    """Print the findings of the run. Returns whether one of them is a warning or an error."""
    told = {f"{f['check']}: {f['message'][:200]}": f["severity"] for f in read_findings(run)} | {
        f"{f.check}: {f.message[:200]}": f.severity for f in doctor(run, minutes=0).findings}
    loud = {text: severity for text, severity in told.items() if severity != "info"}
    notes = ", ".join(text.split(":")[0] for text, severity in told.items() if severity == "info")
    print(f"{'ALARM' if loud else 'healthy':<9}{title}" + (f"  (notes: {notes})" if notes else ""),
          *(f"\n          {severity} {text}" for text, severity in loud.items()), flush=True)
    return bool(loud)


if __name__ == "__main__":
    sys.exit(main())
