"""The model repository of the embedded stack: the committed one, or a copy with a trained model of interests in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.embedded.parts import ROOT
from encoders.errors import ModelError
from streams.base.errors import ConfigurationError

MODEL_REPO = ROOT / "model_repo"


def model_repository(data_dir: Path, interest_model: Path | None) -> Path:
    """Where Triton finds its models; with the folder of a trained model it is made anew below `data_dir`.

    Its export takes some seconds, more where torch is not in the page cache yet. Raises ConfigurationError where there
    is no repository, or the model cannot be served.
    """
    if not MODEL_REPO.is_dir():
        raise ConfigurationError(f"got no {MODEL_REPO}: the embedded stack runs from a checkout, installed with `-e`")
    if interest_model is None:
        return MODEL_REPO
    from encoders.interest_export import export_interests  # noqa: PLC0415  # torch, which nothing else here needs

    made = data_dir / "triton" / "models"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(MODEL_REPO, made)
    try:
        export_interests(interest_model, made)
    except ModelError as error:
        raise ConfigurationError(f"--interest-model: {error}") from error
    return made
