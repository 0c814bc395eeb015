"""The notebooks run from their first cell to their last, for a moment; and they are kept without outputs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
#: Lines of a notebook that say how long it takes, and how little is enough here.
SHORTER = {"MINUTES = 1.0": "MINUTES = 0.03", "STEPS = 20_000": "STEPS = 1_000"}
#: What each must have printed in the end.
SAID = {
    "train_and_evaluate": ["of 500 steps (95 %:", "One episode:", "pole"],
    "bring_your_own": ["Against random moves it wins", "0.92 is the best", "nothing looks wrong"],
    "read_a_run": ["rate-0.0025-seed-2: ", "runs: ", "baseline: ", "beats one of the lower with probability"],
}


def name_of(path: Path) -> str:
    return path.stem


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text())["cells"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def program(path: Path) -> str:
    """The code of all cells, with what IPython's commands do."""
    parts = []
    for cell in cells(path):
        if cell["cell_type"] != "code":
            continue
        text = source(cell)
        if file := re.match(r"%%writefile (\S+)\n", text):
            text = f"open({file[1]!r}, 'w').write({text[file.end():]!r})"
        parts.append(re.sub(r"^( *)%pip install .*$", r"\1raise AssertionError('myosu is not installed')", text,
                            flags=re.MULTILINE))
    text = "\n\n".join(parts)
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_runs(tmp_path, path):
    text = program(path)
    assert "%" not in {line.strip()[:1] for line in text.splitlines()}, "an IPython command is not translated"
    assert any(short in text for short in SHORTER.values())
    (tmp_path / "notebook.py").write_text(text)
    done = subprocess.run([sys.executable, "notebook.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, "MPLBACKEND": "agg"}, timeout=400)
    assert done.returncode == 0, done.stderr
    for words in SAID[path.stem]:
        assert words in done.stdout, words


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebooks_have_no_outputs_and_start_with_installation(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert '%pip install --quiet "myosu[plot]"' in source(code[0])


def test_every_notebook_is_run():
    assert {path.stem for path in NOTEBOOKS} == set(SAID)
    nim = next(source(cell) for cell in cells(EXAMPLES / "bring_your_own.ipynb") if "%%writefile" in source(cell))
    assert nim.partition("\n")[2] == (EXAMPLES / "nim.py").read_text().rstrip("\n")
