#!/bin/sh
# Creates a virtual environment for LightZero 0.2, which only the side-by-side benchmark needs (Python 3.11; 2 GB).
# LightZero and DI-engine are installed without their declared dependencies, most of which board games never import.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3.11}
VENV=.venv-lightzero
[ -d $VENV ] || "$PYTHON" -m venv $VENV
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
# The newest wandb that DI-engine accepts needs an older protobuf than the newest tensorboard.
printf '%s\n' 'torch==2.13.0' 'numpy<2' 'setuptools<81' 'wandb<=0.19.0' 'tensorboard<2.20' > "$constraints"
pip() { $VENV/bin/python -m pip install --quiet --constraint "$constraints" "$@"; }
pip torch numpy setuptools
pip gym==0.25.1 gymnasium==0.28.0 pettingzoo DI-treetensor DI-toolkit trueskill tensorboard tensorboardX wandb easydict \
    pyyaml enum-tools cloudpickle hickle tabulate click requests pynng sniffio mpire einops pympler xxhash matplotlib \
    opencv-python-headless imageio numba yapf==0.29.0 'flask<=2.0.3' 'werkzeug<=2.0.3' responses URLObject redis \
    line_profiler pytest
pip --no-deps LightZero==0.2.0 DI-engine==0.5.3
$VENV/bin/python -W ignore -c "import lzero.policy.muzero; print('LightZero is ready')"
