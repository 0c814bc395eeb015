#!/bin/sh
# A virtual environment of its own for LightZero 0.2, which only the side-by-side benchmark needs (Python 3.11).
# LightZero and DI-engine come without their declared dependencies, most of which Connect Four never imports.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3.11}
VENV=.venv-lightzero
[ -d $VENV ] || "$PYTHON" -m venv $VENV
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
printf 'torch==2.13.0\nnumpy<2\nsetuptools<81\n' > "$constraints"
pip() { $VENV/bin/python -m pip install --quiet --constraint "$constraints" "$@"; }
pip torch==2.13.0 'numpy<2'
pip gym==0.25.1 gymnasium==0.28.0 pettingzoo setuptools DI-treetensor DI-toolkit trueskill tensorboardX easydict pyyaml \
    enum-tools cloudpickle hickle tabulate click requests pynng sniffio mpire einops pympler xxhash matplotlib \
    opencv-python-headless imageio numba yapf==0.29.0 'flask<=2.0.3' 'werkzeug<=2.0.3' responses URLObject redis line_profiler pytest
pip --no-deps LightZero==0.2.0 DI-engine==0.5.3
$VENV/bin/python -c "import lzero.policy.muzero; from zoo.board_games.connect4.envs.connect4_env import Connect4Env; print('LightZero is ready')"
