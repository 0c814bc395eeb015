#!/usr/bin/env bash
# Installs the engines that Myosu is measured against: GRhino (Othello). Does nothing where they are there already.
set -euo pipefail

PATH="$PATH:/usr/games:/usr/local/games"
if command -v gtp-rhino >/dev/null; then
  echo "GRhino is installed: $(command -v gtp-rhino)"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "GRhino comes as the Debian and Ubuntu package 'grhino'; on this system, install it by hand so that" \
    "'gtp-rhino' is on PATH." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    echo "Installing GRhino needs root. Run: sudo apt-get install --no-install-recommends grhino" >&2
    exit 1
  fi
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends grhino
command -v gtp-rhino
