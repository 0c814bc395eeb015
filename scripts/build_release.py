"""Builds the sdist and the wheel into dist/ and checks them: their version is that of the tag, both are under 1 MB, and
the wheel has what the package needs at run time.

    python scripts/build_release.py        # needs: pip install build
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1_000_000
#: One file of each kind that is not Python.
NEEDED = ("myosu/py.typed", "myosu/presets/muzero/othello.toml", "myosu/web/static/index.html",
          "myosu/publish/static/engine/worker.js", "myosu/demo/agent/weights.safetensors")


def main() -> None:
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(dist), *sys.argv[1:], str(ROOT)], check=True)
    for problem in problems(dist):
        sys.exit(f"build_release: {problem}")
    for path in sorted(dist.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def problems(dist: Path) -> list[str]:
    """Problems of the sdist and the wheel in ``dist``; an empty list if there are none."""
    text = (ROOT / "src" / "myosu" / "__init__.py").read_text()
    version = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]  # type: ignore[index]
    wheel, sdist = dist / f"myosu-{version}-py3-none-any.whl", dist / f"myosu-{version}.tar.gz"
    found = [f"{path} is missing" for path in (wheel, sdist) if not path.is_file()]
    if found:
        return found
    found = [f"{path.name} has {path.stat().st_size} bytes, {LIMIT} at most" for path in (wheel, sdist)
             if path.stat().st_size > LIMIT]
    names = set(zipfile.ZipFile(wheel).namelist())
    found += [f"{name} is not in the wheel" for name in NEEDED if name not in names]
    found += [f"{name} has no place in the wheel" for name in names if not name.startswith(("myosu/", "myosu-"))]
    tag = os.environ.get("GITHUB_REF_NAME", "")
    if re.fullmatch(r"v\d.*", tag) and tag != f"v{version}":
        found.append(f"the tag is {tag}, the version {version}")
    return found


if __name__ == "__main__":
    main()
