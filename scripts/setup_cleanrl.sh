#!/bin/sh
# Creates a virtual environment for CleanRL 1.2, which only the side-by-side benchmark needs.
# Its package declares Python below 3.11 and many old versions; its ppo.py needs only torch and an old gym, whose
# CartPole imports pygame. Gymnasium is for the evaluations.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3.11}
VENV=.venv-cleanrl
[ -d $VENV ] || "$PYTHON" -m venv $VENV
pip() { $VENV/bin/python -m pip install --quiet "$@"; }
# torch first and pinned, as in setup_sb3.sh. Old gym needs NumPy 1; ppo.py needs distutils, which Python 3.12 removed.
pip torch==2.13.0 'numpy<2'
pip gym==0.23.1 "$(grep '^gymnasium==' requirements.lock)" pygame 'numpy<2'
pip --no-deps --ignore-requires-python cleanrl==1.2.0
$VENV/bin/python -c "import importlib.util; print('CleanRL is ready:', importlib.util.find_spec('cleanrl.ppo').origin)"
