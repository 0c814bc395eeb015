"""Agents on the Hugging Face Hub. A repository holds what an agent needs to play and nothing else:

    README.md   its model card    manifest.json         configuration, and SHA-256 sums of the weights
    curve.png   if available      weights.safetensors

A pulled agent is untrusted data: only these files are fetched, into a folder beside the target. They are kept only if
the sums are correct, the weights fit, and no code file is named. None of it is executed.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import myosu
from myosu.algorithms import ALGORITHMS
from myosu.errors import UserError
from myosu.players.agent import load_agent
from myosu.runs.checkpoint import NONE_INTACT, Checkpoint, find_checkpoint, open_checkpoint
from myosu.runs.files import writing_to
from myosu.sharing.card import CURVE, named, without_folders, write_card

NEEDED = ("manifest.json", "weights.safetensors")
WELCOME = ("README.md", CURVE)
#: Maximum size of a manifest, which usually has a few kB.
MANIFEST_BYTES = 1_000_000


def push(run: Path, name: str, license: str | None = None, private: bool = False, games: int = 0,
         opponents: tuple[str, ...] = (), endpoint: str | None = None) -> str:
    """Upload the agent of ``run`` with its model card to the repository ``name`` (USER/NAME). Returns its address.

    The repository is created if it is missing. endpoint: address of another server with the Hub's interface. Raises
    UserError if the agent needs the user's own code files, which nobody else has; if huggingface_hub is missing; or if
    the Hub refuses.
    """
    _check_name(name)
    checkpoint = _public(find_checkpoint(run))
    files = [source for source in checkpoint.config.sources if source.endswith(".py")]
    if files or checkpoint.config.game.startswith("python:"):
        raise UserError(f"This agent needs code that nobody else has ({', '.join(files) or checkpoint.config.game}). "
                        "Put the game or the environment into an installable package, and train on its name there "
                        "(package:Id-v0).")
    api = _api(endpoint)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "agent"
        checkpoint.save_agent(folder)
        write_card(run, folder, license, games, opponents, name)
        with _talking_to_the_hub(name):
            address = api.create_repo(name, private=private, exist_ok=True, repo_type="model")
            api.upload_folder(repo_id=name, folder_path=folder, repo_type="model",
                              allow_patterns=[*NEEDED, *WELCOME], commit_message=f"Update {checkpoint.update}")
    return str(address)


def pull(name: str, folder: Path, revision: str | None = None, endpoint: str | None = None,
         say: Callable[[str], None] = print) -> Path:
    """Fetch the agent in the repository ``name`` (USER/NAME) into the new ``folder``.

    ``myosu.load`` and all commands that play accept the folder like a run's. Returns the folder of the checkpoint in
    it. revision: a branch, a tag or a commit. Raises UserError, and then leaves nothing behind.
    """
    _check_name(name)
    if folder.exists():
        raise UserError(f"{folder} exists already. Choose another folder with -o.")
    api = _api(endpoint)
    with writing_to(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        with _talking_to_the_hub(name):
            commit = api.repo_info(name, revision=revision).sha
            there = {file.path: file.size for file in api.list_repo_tree(name, revision=commit)
                     if hasattr(file, "size")}
            if missing := [file for file in NEEDED if file not in there]:
                raise UserError(f"{name} does not hold a Myosu agent: {', '.join(missing)} is missing.")
            if there["manifest.json"] > MANIFEST_BYTES:
                raise UserError(f"{name}: manifest.json has {there['manifest.json']} bytes: it is not a Myosu "
                                "manifest.")
            api.hf_hub_download(name, "manifest.json", revision=commit, local_dir=temporary / "got")
            _check_size(temporary / "got", there["weights.safetensors"], name)
            for file in (NEEDED[1], *(file for file in WELCOME if file in there)):
                api.hf_hub_download(name, file, revision=commit, local_dir=temporary / "got")
        checkpoint = _examine(temporary / "got", name)
        place = temporary / "run" / "checkpoints" / f"update-{checkpoint.update:08d}"
        place.mkdir(parents=True)
        for file in NEEDED:
            (temporary / "got" / file).rename(place / file)
        for file in WELCOME:
            if (temporary / "got" / file).is_file():
                (temporary / "got" / file).rename(temporary / "run" / file)
        if not checkpoint.config.sources:
            _try_out(place, name)
        with writing_to(folder):
            (temporary / "run").rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if left_out := sorted(there.keys() - {*NEEDED, *WELCOME, ".gitattributes"}):
        say(f"Left out, because an agent does not need them: {', '.join(left_out)}")
    if checkpoint.config.sources:
        say(f"To play, it needs {', '.join(checkpoint.config.sources)}, which you must install yourself and allow "
            "with --trust.")
    return folder / "checkpoints" / place.name


def _check_size(folder: Path, size: int, name: str) -> None:
    """Raise UserError before the download if the weights do not have the size given in the manifest in ``folder``."""
    try:
        promised = open_checkpoint(folder).manifest["files"].get("weights.safetensors", {}).get("bytes")
    except UserError:
        return  # reported by ``_examine``
    if promised != size:
        raise UserError(f"{name} was not downloaded: weights.safetensors has {size} bytes instead of {promised}: it "
                        "was cut short or edited.")


def _examine(folder: Path, name: str) -> Checkpoint:
    """The checkpoint in ``folder``. Raises UserError unless its sums are correct and it names no code file."""
    try:
        checkpoint = open_checkpoint(folder)
        if checkpoint.manifest.get("format", 1) != 1:
            raise UserError(f"its format is {checkpoint.manifest['format']}; this Myosu reads 1. Install a newer one.")
        checkpoint.weights()
        config = checkpoint.config
    except UserError as error:
        # The checkpoint's own advice refers to a folder that will be deleted.
        text = str(error).replace(f"{folder}/", "").replace(NONE_INTACT, "").strip()
        raise UserError(f"{name} was not downloaded: {text}") from None
    files = [source for source in config.sources if source.endswith(".py")]
    if files or config.algorithm not in ALGORITHMS:
        raise UserError(f"{name} was not downloaded: it names code in files ({', '.join(files) or config.algorithm}), "
                        "which a downloaded agent must not do.")
    return checkpoint


def _try_out(place: Path, name: str) -> None:
    """Raise UserError if this version of Myosu cannot build an agent that fits the weights."""
    try:
        load_agent(place)
    except UserError as error:
        raise UserError(f"{name} was not downloaded: its weights do not fit an agent of this version of Myosu "
                        f"({myosu.__version__}). It was made by {find_checkpoint(place).config.myosu}: use that "
                        "version.") from error


def _public(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without this machine's folders, which opponents and recordings may name."""
    config = checkpoint.manifest["config"]
    clean = {**config, "train": without_folders(config["train"]),
             "algorithm_config": without_folders(config["algorithm_config"])}
    if config.get("opponent"):
        clean["opponent"] = named(config["opponent"])
    return dataclasses.replace(checkpoint, manifest={**checkpoint.manifest, "config": clean})


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise UserError(f"{name!r} is not a repository on the Hub: write USER/NAME.")


def _api(endpoint: str | None) -> Any:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars
    except ImportError:
        raise UserError("The Hugging Face Hub needs a package: pip install 'myosu[hub]'") from None
    disable_progress_bars()
    return HfApi(endpoint=endpoint)


@contextmanager
def _talking_to_the_hub(name: str) -> Iterator[None]:
    """Context of requests: converts every error into a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of the library, of its HTTP client, of the system: they differ between releases
        status = getattr(getattr(error, "response", None), "status_code", None)
        hint = {401: " Log in first: hf auth login", 403: " You may not write there.",
                404: " Is the name right? Private ones need: hf auth login"}.get(status or 0, "")
        first = next(iter(str(error).strip().splitlines()), "")
        raise UserError(f"The Hub refused {name}: {type(error).__name__}: {first}.{hint}") from error
