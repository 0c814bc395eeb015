"""Finds the installed package that registers an environment id."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from contextlib import suppress
from pathlib import Path

import gymnasium

from myosu.errors import describe

#: Advice for environments of the old gym.
OLD_GYM = (" It is made for gym, Gymnasium's predecessor: pip install \"shimmy[gym-v26]\" and name it as "
           "GymV26Environment-v0 --env-kwargs '{\"env_id\": \"module:Id-v0\"}' (GymV21Environment-v0 where step() "
           "returns four values).")
#: Modules that register environments although their packages do not require Gymnasium.
_ALSO = ("ale_py", "minatar.gym")


def import_package_of(env_id: str, failed: list[str] | None = None) -> bool:
    """Import installed packages with Gymnasium environments until ``env_id`` is registered; returns whether it is.

    Packages with a similar name are imported first, then modules whose text contains the id's first word and
    "register". Messages about packages that cannot be imported, or are made for gym, are added to ``failed``.
    """
    if not _first_word(env_id):  # every module contains the empty word
        return False
    packages = [package for package in importlib.metadata.distributions() if _brings_environments(package)]
    modules = [*_ALSO, *(module for package in packages for module in _top_modules(package))]
    likeness = {module: _shared_start(_letters(env_id), _letters(module)) for module in modules}
    like = [module for module in sorted(likeness, key=lambda name: -likeness[name])
            if likeness[module] >= 3 or module in _ALSO]
    if _import_until(env_id, like, failed) or _import_until(env_id, _modules_that_mention(env_id, packages), failed):
        return True
    old = [package for package in importlib.metadata.distributions() if "gym" in _needs(package)]
    if failed is not None and (modules := _modules_that_mention(env_id, old)):
        failed.append(f" The package {modules[0].partition('.')[0]} has it.{OLD_GYM}")
    return False


def _first_word(env_id: str) -> str:
    return re.split(r"-|/", env_id.rpartition("/")[2])[0]


def _needs(distribution: importlib.metadata.Distribution) -> list[str]:
    """Names of the packages that a distribution requires, without its extras."""
    return [re.split(r"[ ;<>=!~\[(]", need, maxsplit=1)[0] for need in distribution.requires or []
            if "extra ==" not in need]


def _brings_environments(distribution: importlib.metadata.Distribution) -> bool:
    return (("gymnasium" in _needs(distribution) or any(e.group == "gymnasium.envs" for e in distribution.entry_points))
            and distribution.metadata["Name"] not in ("myosu", "gymnasium"))


def _top_modules(distribution: importlib.metadata.Distribution) -> list[str]:
    text = distribution.read_text("top_level.txt")
    return text.split() if text else [distribution.metadata["Name"].replace("-", "_")]


def _modules_that_mention(env_id: str, packages: list[importlib.metadata.Distribution]) -> list[str]:
    """Modules whose text contains the first word of ``env_id`` and "register"; the least nested ones come first."""
    word = _first_word(env_id)
    found = []
    for file in (file for package in packages for file in package.files or [] if file.suffix == ".py"):
        with suppress(OSError, ValueError):
            text = Path(str(file.locate())).read_text("utf-8")
            if word in text and "register" in text:
                found.append(".".join(file.with_suffix("").parts).removesuffix(".__init__"))
    return sorted((module for module in found if "test" not in module), key=lambda module: module.count("."))


def _import_until(env_id: str, modules: list[str], failed: list[str] | None) -> bool:
    for module in modules:
        try:
            found = importlib.import_module(module)
            if env_id not in gymnasium.registry and callable(register := getattr(found, "register_envs", None)):
                register()  # for example MinAtar, which registers nothing when it is imported
        except (Exception, SystemExit) as error:
            why = f" The package {module} is installed, but cannot be imported: {describe(error)}."
            if failed is not None and module not in _ALSO and why not in failed:
                failed.append(why)
        if env_id in gymnasium.registry:
            return True
    return False


def _letters(name: str) -> str:
    return re.sub(r"^gym(nasium)?_|[^a-z]", "", name.lower())


def _shared_start(one: str, other: str) -> int:
    pairs = list(zip(one, other, strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
