#!/usr/bin/env bash
# Installs the browser that the page is tested in: Debian's Chromium. Does nothing where it is there already.
set -euo pipefail

if command -v chromium >/dev/null; then
  echo "Chromium is installed: $(command -v chromium)"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "Chromium comes as the Debian package 'chromium'; on this system, install it by hand so that 'chromium' is on" \
    "PATH." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    echo "Installing Chromium needs root. Run: sudo apt-get install --no-install-recommends chromium" >&2
    exit 1
  fi
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium fonts-dejavu-core
command -v chromium
