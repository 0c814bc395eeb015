#!/bin/sh
# Creates a virtual environment for Stable-Baselines3, which only the side-by-side benchmark needs.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
[ -d .venv-sb3 ] || "$PYTHON" -m venv .venv-sb3
pip() { .venv-sb3/bin/python -m pip install --quiet "$@"; }
# torch first and pinned: as a dependency of Stable-Baselines3, pip may install a GPU build of several gigabytes.
pip torch==2.13.0
# Gymnasium as in requirements.lock, so that both sides use the same environments.
pip stable-baselines3==2.9.2 "$(grep '^gymnasium==' requirements.lock)" box2d==2.3.10 pygame \
    "$(grep '^ale-py==' requirements-dev.lock)" opencv-python-headless minigrid==3.2.0
.venv-sb3/bin/python -c "import stable_baselines3 as sb3, gymnasium; gymnasium.make('LunarLander-v3').reset()
print('Stable-Baselines3', sb3.__version__, '| gymnasium', gymnasium.__version__)"
