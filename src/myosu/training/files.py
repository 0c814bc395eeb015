"""Files that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def sync(path: Path) -> None:
    """Make a file's contents, or a folder's entries, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` at once: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def truncate_lines(path: Path, keep: Any) -> None:
    """Drop the lines of a file of JSON lines for which ``keep(record)`` is false, and a last line cut short."""
    if not path.exists():
        return
    temporary = path.with_name(f".{path.name}.part")
    with open(path, encoding="utf-8") as old, open(temporary, "w", encoding="utf-8") as new:
        for line in old:
            if line.endswith("\n") and keep(json.loads(line)):
                new.write(line)
    os.replace(temporary, path)
