#!/bin/sh
# Creates a virtual environment for mctx and pgx, which only the golden trees and the side-by-side benchmark need.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
[ -d .venv-mctx ] || "$PYTHON" -m venv .venv-mctx
.venv-mctx/bin/python -m pip install --quiet jax jaxlib mctx pgx
.venv-mctx/bin/python -c "import jax, mctx, pgx; print('jax', jax.__version__, '| mctx', mctx.__file__)"
