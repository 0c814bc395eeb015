#!/usr/bin/env bash
# Installs a program that the tests use from Debian's packages; does nothing if it is already installed.
#
#   install_program.sh PROGRAM PACKAGE...
set -euo pipefail

program=$1
shift
PATH="$PATH:/usr/games:/usr/local/games"
if command -v "$program" >/dev/null; then
  echo "$program is installed: $(command -v "$program")"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "$program comes with the Debian and Ubuntu packages '$*'; on this system, install it by hand so that it is on" \
    "PATH." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    echo "Installing $program needs root. Run: sudo apt-get install --no-install-recommends $*" >&2
    exit 1
  fi
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
command -v "$program"
