#!/bin/sh
# Downloads wheels that a GPU machine may lack, for scripts/device_check.sh to install there without a network.
#
#   sh scripts/device_wheels.sh FOLDER [PYTHON_VERSION]     3.12 by default
#
# Torch, Triton, Numba and JAX must be installed there: they are the largest and must match the GPU's driver.
set -eu
folder=$1
python=${2:-3.12}
mkdir -p "$folder"
for package in gymnasium==1.4.0 Farama-Notifications==0.0.6 tyro==1.0.17 docstring_parser==0.18.0 typeguard==4.6.0 \
    mctx==0.0.71 pgx==2.6.0 svgwrite==1.4.3; do
  "${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python" \
    --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -d "$folder" "$package"
done
ls "$folder"
