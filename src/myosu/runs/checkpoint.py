"""Checkpoints: folders that are written atomically and whose hashes reveal any later change.

    checkpoints/update-00001000/   manifest.json         list of the files, with sizes and SHA-256 sums
                                   weights.safetensors   weights of the agent
                                   state.json, state.safetensors   state to resume training; the latest two only
    checkpoints/best.json          name of the checkpoint with the best evaluation, or the least held-out loss
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
from typing import Annotated, Any, NotRequired, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from myosu.errors import UserError, describe
from myosu.runs.config import RunConfig
from myosu.runs.files import remove, sha256, sync, write_json, writing_to
from myosu.runs.reading import Count, FileName, Finite, Pattern, Range, load_json, parse, read_json
from myosu.runs.state import State, Weights, joined_halves, load_state, save_state, split_halves

#: Number of checkpoints from which training can resume: the latest, and one in case it is damaged.
RESUMABLE = 2
#: The advice about a damaged checkpoint that is the first one, or the only one.
NONE_INTACT = "No earlier checkpoint is intact."

#: Exceptions raised by reading a damaged file of tensors, or by loading tensors of other shapes.
UNFIT = (SafetensorError, KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError,
         AssertionError, MemoryError)


class Seal(TypedDict):
    bytes: Count
    sha256: str


class ReplayFiles(TypedDict):
    """Names of the files of a saved replay, one per block; "" if the block does not exist."""

    files: list[Annotated[str, Pattern(r"(\w[\w.-]*)?")]]


class ReplayManifest(ReplayFiles):
    """The manifest that ``Replay.save`` returns."""

    capacity: Count
    cursor: Count
    positions: Count
    games: Count
    total_positions: Count
    saves: Count


class Manifest(TypedDict):
    update: Count
    config: dict[str, Any]
    replay: ReplayFiles
    files: dict[FileName, Seal]
    replay_files: dict[FileName, Seal]


class Best(TypedDict):
    checkpoint: Annotated[str, Pattern(r"update-\d{8,}")]
    mean_reward: NotRequired[Finite]
    opponent: NotRequired[str]
    held_out_loss: NotRequired[Finite]


class SourceState(TypedDict):
    starts: Count
    restarts: Count


class TrainingState(TypedDict):
    """The training loop's part of the state. The learner and the source validate their own parts."""

    updates: Count
    samples: Count
    games: Count
    env_steps: Count
    seconds: Annotated[float, Range(0)]
    source: SourceState


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder and its manifest, whose hash has been verified."""

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
        return RunConfig.from_json(self.manifest["config"], self.path / "manifest.json")

    def weights(self) -> Weights:
        """Load the weights, in float32 if they are stored in half. Raises UserError if the file does not match the
        manifest, or if a weight is not finite."""
        self._check("weights.safetensors")
        with self._reading("weights.safetensors"):
            weights = joined_halves(load_file(self.path / "weights.safetensors"))
        for name, tensor in weights.items():
            if not torch.isfinite(tensor.float()).all():
                raise UserError(f"{self.path / 'weights.safetensors'}: {name} has numbers that are not finite. "
                                f"{_way_out(self.path)}")
        return weights

    def state(self) -> State:
        """Load the state to resume training. Raises UserError if any file does not match the manifest."""
        for name in {**self.manifest["files"], "state.json": None, "state.safetensors": None}:
            self._check(name)
        with self._reading("state.json"):
            state = load_state(self.path)
            if "actors" in state:  # the name in earlier versions
                state["source"] = state.pop("actors") | ({"actor": state.pop("actor")} if "actor" in state else {})
            parse(TrainingState, {name: state.get(name) for name in TrainingState.__annotations__},
                  self.path / "state.json")
            return state

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (*UNFIT, OSError, RecursionError) as error:
            raise UserError(f"{self.path / name} is damaged, although its checksum is right: {describe(error)}. "
                            f"{_way_out(self.path)}") from error

    def save_agent(self, folder: Path, half: bool = False) -> None:
        """Write the agent to ``folder`` as a separate checkpoint without training state. Raises UserError if the folder
        exists.

        half: store the weights in half the bytes (``split_halves``).
        """
        self._check("weights.safetensors")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise UserError(f"{folder} exists already. Choose another folder.") from None
        if half:
            save_file(split_halves(self.weights()), folder / "weights.safetensors")
        else:
            shutil.copyfile(self.path / "weights.safetensors", folder / "weights.safetensors")
        _write_manifest(folder, {
            **self.manifest, "files": {"weights.safetensors": _seal(folder / "weights.safetensors")},
            "replay_files": {},
        })

    @contextmanager
    def being_loaded(self) -> Iterator[None]:
        """Context in which weights and state are loaded into an agent or a training run. Turns errors about tensors
        that do not fit into UserError."""
        try:
            yield
        except UNFIT as error:
            raise UserError(f"The state in {self.path} does not fit {self.config.algorithm}, as if it was written by "
                            f"another version of Myosu: {describe(error)}. Use that version, or train again."
                            ) from error

    def check_replay(self, folder: Path) -> None:
        """Verify the files of the saved replay in ``folder``. Raises UserError."""
        parse(ReplayManifest, self.manifest["replay"], f"{self.path / 'manifest.json'} (replay)")
        for name in self.manifest["replay_files"]:
            self._check(name, folder)

    def _check(self, name: str, folder: Path | None = None) -> None:
        if folder is None:
            file, expected = self.path / name, self.manifest["files"].get(name)
        else:
            file, expected = folder / name, self.manifest["replay_files"][name]
        if expected is None:
            problem = "is no longer part of this checkpoint (only the latest ones keep the training state)"
        elif not file.is_file():
            problem = "is missing"
        elif (size := file.stat().st_size) != expected["bytes"]:
            problem = f"has {size} bytes instead of {expected['bytes']}: it was truncated or edited"
        elif sha256(file) != expected["sha256"]:
            problem = "was changed after it was written"
        else:
            return
        raise UserError(f"{file} {problem}. {_way_out(self.path)}")


def open_checkpoint(path: Path) -> Checkpoint:
    """Open the checkpoint in ``path``. Raises UserError if its manifest is missing or was changed."""
    file = path / "manifest.json"
    if not file.exists():
        raise UserError(f"{file} is missing. {_way_out(path)}")
    try:
        data = parse(dict[str, Any], load_json(file), file)
        if data.pop("sha256", None) != _digest(data):
            raise UserError(f"{file} was truncated or edited: its contents do not match its checksum.")
        return Checkpoint(path, parse(Manifest, data, file))
    except UserError as error:
        raise UserError(f"{error} {_way_out(path)}") from None


class Checkpoints:
    """The checkpoints of one run, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._replay_files: dict[str, dict[str, Any]] = {}

    def paths(self) -> list[Path]:
        """All checkpoint folders, oldest first, without verifying their contents."""
        found = [path for path in self.folder.glob("update-*") if re.fullmatch(r"update-\d{8,}", path.name)]
        return sorted(found, key=lambda path: int(path.name.removeprefix("update-")))

    def path(self, update: int) -> Path:
        return self.folder / f"update-{update:08d}"

    def latest(self) -> Path | None:
        paths = self.paths()
        return paths[-1] if paths else None

    def write(self, update: int, config: RunConfig, weights: Weights, state: State, replay: dict[str, Any],
              replay_folder: Path) -> Path:
        """Write a checkpoint atomically. After a failure, nothing of it remains.

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
            # The files of the replay never change, so each hash is computed once.
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
        """Delete checkpoints that are no longer needed. Returns the resumable ones that remain.

        The latest two are kept with their training state. Only the weights are kept of the first checkpoint at or after
        each multiple of ``keep_every``, of the best one, and of those at the updates ``also``.
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
                _remove(path)
                continue
            try:
                checkpoint = open_checkpoint(path)
            except UserError:
                continue  # damaged: training need not stop for it, and using it will report it
            if i < len(paths) - RESUMABLE:
                _strip(checkpoint)
            elif checkpoint.resumable:
                resumable.append(checkpoint)
        return resumable

    def set_aside_after(self, update: int) -> list[Path]:
        """Rename the checkpoints after ``update``, from which training resumes. Returns their new paths."""
        moved = []
        for path in self.paths():
            if int(path.name.removeprefix("update-")) > update:
                target = path.with_name(f"set-aside-{path.name}")
                shutil.rmtree(target, ignore_errors=True)
                os.rename(path, target)
                moved.append(target)
        return moved

    def best(self) -> Path | None:
        """The checkpoint that ``best.json`` names; None if there is no such file."""
        best = self._read_best()
        return None if best is None else self.folder / best["checkpoint"]

    def least_held_out_loss(self) -> float | None:
        """The held-out loss of the best checkpoint; None if the run has none that was chosen by it."""
        best = self._read_best()
        return None if best is None or not (self.folder / best["checkpoint"]).is_dir() else best.get("held_out_loss")

    def _read_best(self) -> Best | None:
        file = self.folder / "best.json"
        if not file.exists():
            return None
        try:
            return read_json(file, Best)
        except UserError as error:
            raise UserError(f"{error} Delete it, or use {self.folder / 'latest'} instead.") from None

    def set_best(self, update: int, **measured: Any) -> None:
        """measured: why it is the best, the fields of ``Best``."""
        with writing_to(self.folder / "best.json"):
            write_json(self.folder / "best.json", {"checkpoint": self.path(update).name, **measured})

    def clear_best(self) -> None:
        remove(self.folder / "best.json")


def find_checkpoint(path: str | Path) -> Checkpoint:
    """Open the checkpoint that ``path`` names: a run's folder (its latest checkpoint, or that with the least held-out
    loss if the run does not play), ``RUN/checkpoints/best`` or ``latest``, or a checkpoint's folder. Raises UserError
    if there is none."""
    path = Path(path)
    if path.name in ("best", "latest") and path.parent.is_dir():
        checkpoints = Checkpoints(path.parent)
        found = checkpoints.best() if path.name == "best" else checkpoints.latest()
        if found is None:
            why = "nothing has been evaluated" if path.name == "best" else "nothing has been saved"
            raise UserError(f"There is no {path.name} checkpoint in {path.parent} yet: {why}.")
        return open_checkpoint(found)
    if (path / "config.json").is_file() or (path / "checkpoints").is_dir():
        checkpoints = Checkpoints(path / "checkpoints")
        found = checkpoints.best() if checkpoints.least_held_out_loss() is not None else checkpoints.latest()
        if found is None:
            raise UserError(f"The run {path} has no checkpoint yet.")
        return open_checkpoint(found)
    if not path.is_dir():
        raise UserError(f"There is no run or checkpoint {str(path)!r}.")
    if not (path / "manifest.json").is_file() and path.parent.name != "checkpoints":
        raise UserError(f"{path} is a folder, but neither a run nor a checkpoint.")
    return open_checkpoint(path)


def _remove(checkpoint: Path) -> None:
    """Rename the folder to a temporary name, which the next start cleans up, then delete it. A partly deleted folder is
    thus never mistaken for a checkpoint."""
    part = checkpoint.with_name(f".{checkpoint.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    os.rename(checkpoint, part)
    shutil.rmtree(part)


def _seal(file: Path) -> dict[str, Any]:
    sync(file)
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_json(folder / "manifest.json", {**manifest, "sha256": _digest(manifest)})


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _strip(checkpoint: Checkpoint) -> None:
    """Remove everything but the weights. The manifest is replaced first, so that it never lists a missing file. This
    also removes files that a killed training left."""
    files = checkpoint.manifest["files"]
    kept = {name: files[name] for name in files if not name.startswith("state.")}
    if checkpoint.resumable:
        _write_manifest(checkpoint.path, {**checkpoint.manifest, "files": kept})
    for path in checkpoint.path.iterdir():
        if path.name != "manifest.json" and path.name not in kept:
            remove(path)


def _way_out(damaged: Path) -> str:
    """Advice about a damaged checkpoint: the name of the nearest earlier one that is intact."""
    for path in reversed(Checkpoints(damaged.parent).paths()):
        if path.name >= damaged.name or not (path / "manifest.json").is_file():
            continue
        try:
            checkpoint = Checkpoint(path, read_json(path / "manifest.json", Manifest))
            whole = all((path / name).is_file() and sha256(path / name) == entry["sha256"]
                        for name, entry in checkpoint.manifest["files"].items())
        except (UserError, OSError):
            continue
        if whole:
            use = f"resume from it with: myosu train --resume {path}" if checkpoint.resumable else "it can be played"
            return f"The previous good checkpoint is {path}; {use}"
    return NONE_INTACT
