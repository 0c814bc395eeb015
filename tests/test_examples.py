"""The examples run as they are, for a moment."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(("name", "minutes", "said"), [
    ("cartpole", 0.05, "of 500 steps. The agent is in"),
    ("own_environment", 0.05, "going straight to the end gives"),
    ("own_game", 0.05, "player 1 takes"),
    ("early_stop", 0.05, "Ended after"),
    ("compare_runs", 0.02, "of 40 games"),
])
def test_an_example_runs(tmp_path, name, minutes, said):
    done = subprocess.run([sys.executable, EXAMPLES / f"{name}.py", str(minutes)], cwd=tmp_path, capture_output=True,
                          text=True, check=False, timeout=400)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert said in done.stdout and list((tmp_path / "runs").iterdir())


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} - {"nim"} == {
        "cartpole", "own_environment", "own_game", "early_stop", "compare_runs"}


def test_the_game_is_that_of_the_documentation():
    page = (EXAMPLES.parent / "docs" / "new-game.md").read_text()
    assert f"```python\n{(EXAMPLES / 'nim.py').read_text()}```" in page
