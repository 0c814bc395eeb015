"""Executes the notebooks of examples/ in a Jupyter kernel, as they are: execute_notebooks.py [FOLDER] [WORD ...]

Needs ``pip install nbclient ipykernel matplotlib`` and five minutes. With WORDs, only notebooks whose names contain one
of them. FOLDER keeps the executed notebooks and what they write. tests/test_notebooks.py runs the same cells without
Jupyter, shortened.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
#: Seconds for one cell.
SECONDS = 900


def execute(path: Path, folder: Path) -> str:
    """Execute the notebook with ``folder`` as its working directory, and write it there with its outputs. Returns an
    error message, "" if every cell ran."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(path, as_version=4)
    try:
        NotebookClient(notebook, timeout=SECONDS, kernel_name="python3",
                       resources={"metadata": {"path": str(folder)}}).execute()
    except CellExecutionError as error:
        return str(error)
    finally:
        nbformat.write(notebook, folder / path.name)
    return ""


def main() -> int:
    folder, words = (sys.argv[1] if len(sys.argv) > 1 else None), sys.argv[2:]
    failed = 0
    with TemporaryDirectory(prefix="myosu-notebooks-") as temporary:
        for path in sorted(EXAMPLES.glob("*.ipynb")):
            if words and not any(word in path.stem for word in words):
                continue
            begin = time.monotonic()
            error = execute(path, Path(folder or temporary).absolute() / path.stem)
            failed += bool(error)
            print(f"{path.name}: {f'FAILED{chr(10)}{error}' if error else 'ran'} in {time.monotonic() - begin:.0f} s",
                  flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
