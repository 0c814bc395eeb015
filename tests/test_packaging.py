"""The pinned requirements, and the Makefile's promises to a fresh machine."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import myosu

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([0-9][A-Za-z0-9.]*)$")


def pins(name: str) -> dict[str, str]:
    """Packages and versions of a lock file; fails on a line that is no plain pin."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith(("#", "-r ")):
            match = PIN.match(line)
            assert match, f"{name}: {line!r} is not name==version"
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


def requirements(lines: list[str]) -> dict[str, tuple[int, ...]]:
    """Names and least versions of requirements such as ``numpy>=1.26``."""
    parsed = (re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line) for line in lines)
    return {match[1].lower(): tuple(map(int, match[2].split("."))) for match in parsed if match}


def test_every_declared_dependency_is_pinned_at_an_allowed_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    extras = [line for name, group in project["optional-dependencies"].items() for line in group
              if name != "ray"]  # 79 MB that no other test needs: its own skip without it
    for lines, locked in ((project["dependencies"], runtime), (extras, runtime | dev)):
        wanted = requirements(lines)
        assert len(wanted) == len(set(lines)), "a requirement is not of the form name>=version"
        for name, least in wanted.items():
            assert name in locked, f"{name} is not pinned"
            assert tuple(map(int, locked[name].split(".")))[: len(least)] >= least, f"{name}=={locked[name]}"
    assert not runtime.keys() & dev.keys()


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with what ``make install`` reads of the project, and no .venv."""
    for name in ("Makefile", "requirements.lock", "requirements-dev.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    # What an outer make hands down would change the inner one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, env=environment)


def fake_python(folder: Path, body: str) -> str:
    path = folder / "fake-python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return f"PYTHON={path}"


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
class TestMakefile:
    def test_an_old_python_is_named(self, fresh):
        python = fake_python(fresh, 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
        result = make(fresh, "install", python)
        assert result.returncode == 2
        assert "Python 3.11 or newer" in result.stderr and "Python 3.9.2" in result.stderr
        assert not (fresh / ".venv").exists()

    def test_a_missing_venv_module_is_named(self, fresh):
        python = fake_python(fresh, 'case "$2" in *ensurepip*) exit 1;; esac')
        result = make(fresh, "install", python)
        assert result.returncode == 2
        assert "python3-venv" in result.stderr

    def test_train_installs_then_runs_the_main_job(self, fresh):
        plan = make(fresh, "--dry-run", "train", "MINUTES=3", "RUN=runs/mine").stdout
        assert plan.index("-m venv .venv") < plan.index("install --quiet -r requirements.lock")
        assert plan.strip().endswith(".venv/bin/myosu train othello --minutes 3 --run runs/mine")

    def test_an_installed_tree_is_not_installed_again(self, fresh):
        (fresh / ".venv/bin").mkdir(parents=True)
        for name in (".venv/bin/python", ".venv/.installed"):
            (fresh / name).touch()
        plan = make(fresh, "--dry-run", "train").stdout
        assert "pip" not in plan and "myosu train" in plan


def test_an_installation_and_a_home_that_cannot_be_written_get_another_cache(monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # so that it is unset again after the test
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    myosu._find_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    myosu._find_cache()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
