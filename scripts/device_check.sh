#!/bin/bash
# Runs all checks and benchmarks on a GPU machine in less than ten minutes; the results, with the GPU's name, go to a
# folder.
# Works without a network: wheels come from `sh scripts/device_wheels.sh FOLDER`.
#
#   bash scripts/device_check.sh OUT [WHEELS] [options of benchmarks/device.py, such as --parts network,learner]
#   bash scripts/device_check.sh OUT "" --device cpu --tiny        to try it without a GPU
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "$1")
wheels=${2:-}
shift $(($# < 2 ? $# : 2))
mkdir -p "$out"
python=${PYTHON:-python3}
if [ -n "$wheels" ]; then
  # Install the package too, for its entry points; the code that runs is the source here.
  site=$(mktemp -d)
  build=$(mktemp -d)
  cp -r src pyproject.toml "$build"
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site/wheels" "$wheels"/*.whl
  (cd "$build" && "$python" -m pip install --quiet --no-index --no-deps --no-build-isolation --target "$site/own" .)
  export PYTHONPATH="$PWD/src:$site/wheels:$site/own"
fi
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
"$python" benchmarks/device.py --out "$out" "$@" 2>&1 | tee "$out/device.txt"
