"""Checkpoints: folders that are whole or not there, and that say themselves when somebody changed them.

    checkpoints/update-00001000/   manifest.json         what is here, with sizes and SHA-256 sums
                                   weights.safetensors   what an agent needs
                                   state.json, state.safetensors   what training needs to go on; the latest two only
    checkpoints/best.json          names the checkpoint that did best against a random player
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from myosu.envs.gym_env import describe
from myosu.errors import UserError
from myosu.runs.config import RunConfig
from myosu.runs.files import sha256, sync, write_json
from myosu.runs.state import State, Weights, load_state, save_state

#: Checkpoints that keep what training needs: the latest, and one to fall back on.
RESUMABLE = 2


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint folder and its manifest, whose own sum has been checked."""

    path: Path
    manifest: dict[str, Any]

    @property
    def update(self) -> int:
        return self.manifest["update"]

    @property
    def resumable(self) -> bool:
        return "state.json" in self.manifest["files"]

    @property
    def config(self) -> RunConfig:
        return RunConfig.from_json(self.manifest["config"])

    def weights(self) -> Weights:
        """Checked against the manifest; UserError when the file is not what was written."""
        self._check("weights.safetensors")
        return load_file(self.path / "weights.safetensors")

    def state(self) -> State:
        """What training needs to go on; the whole checkpoint is checked."""
        for name in {**self.manifest["files"], "state.json": None, "state.safetensors": None}:
            self._check(name)
        return load_state(self.path)

    @contextmanager
    def being_loaded(self) -> Iterator[None]:
        """While its weights go into a network: UserError where they do not fit."""
        try:
            yield
        except (KeyError, RuntimeError) as error:
            raise UserError(f"The weights in {self.path} do not fit the network that {self.config.algorithm} has now, "
                            f"as if they came from another version of Myosu: {describe(error)}. Use that version, or "
                            "train again.") from error

    def check_replay(self, folder: Path) -> None:
        """Check the files in ``folder`` that the saved replay is made of."""
        for name in self.manifest["replay_files"]:
            self._check(name, folder)

    def _check(self, name: str, folder: Path | None = None) -> None:
        if folder is None:
            file, expected = self.path / name, self.manifest["files"].get(name)
        else:
            file, expected = folder / name, self.manifest["replay_files"][name]
        if expected is None:
            problem = "is not part of this checkpoint any more (only the latest ones keep what training needs)"
        elif not file.is_file():
            problem = "is missing"
        elif (size := file.stat().st_size) != expected["bytes"]:
            problem = f"has {size} bytes instead of {expected['bytes']}: it was cut short or edited"
        elif sha256(file) != expected["sha256"]:
            problem = "was changed after it was written"
        else:
            return
        raise UserError(f"{file} {problem}. {_way_out(self.path)}")


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the manifest in ``path``. Raises UserError when it is missing or was changed."""
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text())
        if manifest.pop("sha256") != _digest(manifest):
            raise ValueError("its contents do not match its sum")
    except FileNotFoundError:
        raise UserError(f"{file} is missing. {_way_out(path)}") from None
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{file} was cut short or edited ({error}). {_way_out(path)}") from error
    return Checkpoint(path, manifest)


class Checkpoints:
    """The checkpoints of one run, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._replay_files: dict[str, dict[str, Any]] = {}

    def paths(self) -> list[Path]:
        """All checkpoint folders, oldest first; their contents unchecked."""
        found = [path for path in self.folder.glob("update-*") if re.fullmatch(r"update-\d{8,}", path.name)]
        return sorted(found, key=lambda path: int(path.name.removeprefix("update-")))

    def path(self, update: int) -> Path:
        return self.folder / f"update-{update:08d}"

    def latest(self) -> Path | None:
        paths = self.paths()
        return paths[-1] if paths else None

    def write(self, update: int, config: RunConfig, weights: Weights, state: State, replay: dict[str, Any],
              replay_folder: Path) -> Path:
        """Write a checkpoint and put it in its place at once; on any failure nothing of it stays.

        replay: the manifest of the replay, whose ``files`` are in ``replay_folder``.
        """
        final = self.path(update)
        temporary = self.folder / f".{final.name}.part"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            save_file({name: tensor.contiguous() for name, tensor in weights.items()},
                      temporary / "weights.safetensors")
            names = ["weights.safetensors", *save_state(temporary, state)]
            # A file of the replay never changes under its name, so its sum is taken once.
            known = self._replay_files
            self._replay_files = {name: known.get(name) or _seal(replay_folder / name)
                                  for name in replay["files"] if name}
            _write_manifest(temporary, {
                "format": 1, "update": update, "config": config.to_json(), "replay": replay,
                "files": {name: _seal(temporary / name) for name in names}, "replay_files": self._replay_files,
            })
            sync(temporary)
            os.rename(temporary, final)
            sync(self.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return final

    def retain(self, keep_every: int, also: set[int]) -> list[Checkpoint]:
        """Delete what need not stay; the resumable checkpoints that do.

        Whole: the latest two. Weights only: the first at or after each multiple of ``keep_every``, the best, and the
        updates ``also``.
        """
        paths = self.paths()
        best = self.best()
        resumable = []
        previous = 0
        for i, path in enumerate(paths):
            update = int(path.name.removeprefix("update-"))
            milestone = update // keep_every > previous // keep_every
            previous = update
            if i < len(paths) - RESUMABLE and not (milestone or path == best or update in also):
                shutil.rmtree(path)
                continue
            try:
                checkpoint = open_checkpoint(path)
            except UserError:
                continue  # Damaged: whoever wants to use it is told; training need not stop for it.
            if i < len(paths) - RESUMABLE:
                _strip(checkpoint)
            elif checkpoint.resumable:
                resumable.append(checkpoint)
        return resumable

    def set_aside_after(self, update: int) -> list[Path]:
        """Move checkpoints later than ``update`` out of the way, for training goes on from there; their new paths."""
        moved = []
        for path in self.paths():
            if int(path.name.removeprefix("update-")) > update:
                target = path.with_name(f"set-aside-{path.name}")
                shutil.rmtree(target, ignore_errors=True)
                os.rename(path, target)
                moved.append(target)
        return moved

    def best(self) -> Path | None:
        """The checkpoint that ``best.json`` names."""
        try:
            return self.folder / json.loads((self.folder / "best.json").read_text())["checkpoint"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.folder / 'best.json'} cannot be read; delete it, or use "
                            f"{self.folder / 'latest'} instead.") from error

    def set_best(self, update: int, mean_reward: float) -> None:
        write_json(self.folder / "best.json", {"checkpoint": self.path(update).name, "mean_reward": mean_reward})

    def clear_best(self) -> None:
        (self.folder / "best.json").unlink(missing_ok=True)


def find_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint that ``path`` means: a run folder (its latest), ``RUN/checkpoints/best`` or ``latest``, or the
    folder of one checkpoint."""
    path = Path(path)
    if path.name in ("best", "latest") and path.parent.is_dir():
        checkpoints = Checkpoints(path.parent)
        found = checkpoints.best() if path.name == "best" else checkpoints.latest()
        if found is None:
            why = "nothing has been evaluated" if path.name == "best" else "nothing has been saved"
            raise UserError(f"There is no {path.name} checkpoint in {path.parent} yet: {why}.")
        return open_checkpoint(found)
    if (path / "config.json").is_file() or (path / "checkpoints").is_dir():
        latest = Checkpoints(path / "checkpoints").latest()
        if latest is None:
            raise UserError(f"The run {path} has no checkpoint yet.")
        return open_checkpoint(latest)
    if not path.is_dir():
        raise UserError(f"There is no run or checkpoint {str(path)!r}.")
    if not (path / "manifest.json").is_file() and path.parent.name != "checkpoints":
        raise UserError(f"{path} is a folder, but neither a run nor a checkpoint.")
    return open_checkpoint(path)


def _seal(file: Path) -> dict[str, Any]:
    sync(file)
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_json(folder / "manifest.json", {**manifest, "sha256": _digest(manifest)})


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _strip(checkpoint: Checkpoint) -> None:
    """Keep the weights only. The manifest goes first, so that it never promises a file that is gone."""
    if checkpoint.resumable:
        files = checkpoint.manifest["files"]
        kept = {name: files[name] for name in files if not name.startswith("state.")}
        _write_manifest(checkpoint.path, {**checkpoint.manifest, "files": kept})
        for name in set(files) - set(kept):
            (checkpoint.path / name).unlink(missing_ok=True)


def _way_out(damaged: Path) -> str:
    """What to do about a damaged checkpoint: use the nearest earlier one that is whole."""
    for path in reversed(Checkpoints(damaged.parent).paths()):
        if path.name >= damaged.name or not (path / "manifest.json").is_file():
            continue
        try:
            checkpoint = Checkpoint(path, json.loads((path / "manifest.json").read_text()))
            if all((path / name).is_file() and sha256(path / name) == entry["sha256"]
                   for name, entry in checkpoint.manifest["files"].items()):
                use = f"go on from it with: myosu train --resume {path}" if checkpoint.resumable else "it can be played"
                return f"The previous good checkpoint is {path}; {use}"
        except (ValueError, KeyError):
            continue
    return "No earlier checkpoint is whole."
