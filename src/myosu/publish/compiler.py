"""The process that compiles the code of a page: ``python -m myosu.publish.compiler GAME REWARDS FOLDER``.

It writes ``agent.wasm`` and ``module.json`` to the folder and runs with the environment variables ``ENVIRONMENT``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from myosu.errors import UserError

#: Environment variables with which Numba does not optimise; ``NUMBA_CACHE_DIR`` is set to a temporary folder as well.
ENVIRONMENT = {"NUMBA_OPT": "0", "NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0", "NUMBA_CPU_NAME": "generic",
               "NUMBA_CPU_FEATURES": "", "PYTHONWARNINGS": "ignore"}


def compile_for_page(game: str, rewards: str) -> tuple[bytes, dict[str, Any]]:
    """Compile the rules of ``game`` (a name, or the path of a file), the search and the layers of networks.

    Returns the WebAssembly module and its description for ``engine/machine.js``. Raises UserError."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "myosu.publish.compiler", game, rewards, folder]
        done = subprocess.run(command, env={**os.environ, **ENVIRONMENT, "NUMBA_CACHE_DIR": folder}, text=True,
                              capture_output=True)
        if done.returncode != 0:
            words = done.stderr.strip().splitlines()
            last = words[-1] if words else f"exit code {done.returncode}"
            raise UserError(last if done.returncode == 2 else f"{game} cannot be compiled for the browser: {last}")
        return (Path(folder) / "agent.wasm").read_bytes(), json.loads((Path(folder) / "module.json").read_text())


def main(name: str, rewards: str, folder: str) -> None:
    from myosu.games.registry import find_game
    from myosu.publish import exports
    from myosu.publish.wasm import STACK, compile_module

    game, _ = find_game(name)
    game = game.with_outcome_rewards() if rewards == "outcome" else game
    module = compile_module([*exports.rules(game), *exports.drawing(game), *exports.search(game.num_actions),
                             *exports.network(game)])
    (Path(folder) / "agent.wasm").write_bytes(module.code)
    (Path(folder) / "module.json").write_text(json.dumps({"stack": STACK, "data_end": module.data_end}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
