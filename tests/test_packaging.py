"""The pinned requirements, and the Makefile's promises to a fresh machine."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import myosu

ROOT = Path(__file__).resolve().parent.parent
_spec = spec_from_file_location("build_release", ROOT / "scripts" / "build_release.py")
build_release = module_from_spec(_spec)
_spec.loader.exec_module(build_release)
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
    parsed = (re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[\w+\])?>=([0-9.]+)", line) for line in lines)
    return {match[1].lower(): tuple(map(int, match[2].split("."))) for match in parsed if match}


def test_every_declared_dependency_is_pinned_at_an_allowed_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    # Tests of what is large, and of no use to other tests, skip without it.
    extras = [line for name, group in project["optional-dependencies"].items() for line in group
              if name not in ("ray", "wandb", "trackio", "mlflow", "all")]
    for lines, locked in ((project["dependencies"], runtime), (extras, runtime | dev)):
        wanted = requirements(lines)
        assert len(wanted) == len(set(lines)), "a requirement is not of the form name>=version"
        for name, least in wanted.items():
            assert name in locked, f"{name} is not pinned"
            assert tuple(map(int, locked[name].split(".")))[: len(least)] >= least, f"{name}=={locked[name]}"
    assert not runtime.keys() & dev.keys()


def test_extra_all_contains_every_other_user_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(everything.removeprefix("myosu[").removesuffix("]").split(",")) == extras.keys() - {"all", "dev", "docs"}


def test_packaging_files_name_no_registry_host():
    for name in ("pyproject.toml", "Dockerfile", "Makefile", "requirements.lock", "requirements-dev.lock",
                 ".github/workflows/release.yml", "scripts/build_release.py"):
        assert not re.search(r"pypi\.org|pythonhosted|index-url", (ROOT / name).read_text()), name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel and the sdist, made without a network; their folder."""
    pytest.importorskip("build")
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listing = ["git", "ls-files", "-co", "--exclude-standard", "src", "*.toml", "README.md", "LICENSE"]
    for name in subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source], check=True,
                   capture_output=True)
    return dist


def test_wheel_and_sdist_are_small_and_complete(wheel):
    assert build_release.problems(wheel) == []


@pytest.mark.parametrize("lost", build_release.NEEDED)
def test_an_incomplete_wheel_is_reported(wheel, lost, monkeypatch, tmp_path):
    folder = shutil.copytree(wheel, tmp_path / "dist")
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "part", "w") as part:
        for name in whole.namelist():
            if name != lost:
                part.writestr(name, whole.read(name))
    shutil.move(tmp_path / "part", path)
    assert f"{lost} is not in the wheel" in build_release.problems(folder)


@pytest.mark.slow
def test_an_installed_wheel_trains_and_plays(wheel, tmp_path):
    """With the libraries of this environment; the release workflow installs them into an empty one."""
    (path,) = wheel.glob("*.whl")
    zipfile.ZipFile(path).extractall(tmp_path / "site")
    # Without the commands, of which the demo compiles the search anew.
    places = os.pathsep.join(map(str, (tmp_path / "site", ROOT / "scripts")))
    done = subprocess.run([sys.executable, "-c", "import smoke_test; smoke_test.train_and_play()"], cwd=tmp_path,
                          capture_output=True, text=True, env={**os.environ, "PYTHONPATH": places}, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout


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
    def test_an_old_python_is_reported(self, fresh):
        python = fake_python(fresh, 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
        result = make(fresh, "install", python)
        assert result.returncode == 2
        assert "Python 3.11 or newer" in result.stderr and "Python 3.9.2" in result.stderr
        assert not (fresh / ".venv").exists()

    def test_a_missing_venv_module_is_reported(self, fresh):
        python = fake_python(fresh, 'case "$2" in *ensurepip*) exit 1;; esac')
        result = make(fresh, "install", python)
        assert result.returncode == 2
        assert "python3-venv" in result.stderr

    def test_train_installs_then_runs_the_main_job(self, fresh):
        plan = make(fresh, "--dry-run", "train", "MINUTES=3", "RUN=runs/mine").stdout
        assert plan.index("-m venv .venv") < plan.index("install --quiet -r requirements.lock")
        assert plan.strip().endswith(".venv/bin/myosu train othello --minutes 3 --run runs/mine")

    def test_make_train_skips_a_finished_installation(self, fresh):
        (fresh / ".venv/bin").mkdir(parents=True)
        for name in (".venv/bin/python", ".venv/.installed"):
            (fresh / name).touch()
        plan = make(fresh, "--dry-run", "train").stdout
        assert "pip" not in plan and "myosu train" in plan


def test_numba_cache_moves_if_its_folders_are_read_only(monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # so that it is unset again after the test
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    myosu._find_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    myosu._find_cache()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
