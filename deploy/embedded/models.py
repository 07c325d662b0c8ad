"""The model repository of the embedded stack: the committed one, or a copy with a trained model of interests in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.embedded.parts import BROKEN, INFER_S, ROOT, Alive
from encoders.errors import ModelError
from encoders.histories import Histories
from encoders.interest_backends import read_served
from encoders.interest_contract import MODEL_NAME
from encoders.served import served_encoder
from streams.base.errors import ConfigurationError, InterestsError
from streams.encoder.interest_client import TritonInterests

MODEL_REPO = ROOT / "model_repo"


def model_repository(data_dir: Path, interest_model: Path | None) -> Path:
    """Where Triton finds its models; with the folder of a trained model it is made anew below `data_dir`.

    Its export takes some seconds, more where torch is not in the page cache yet. Raises ConfigurationError where there
    is no repository, the model cannot be served, or it was trained on vectors of another text encoder.
    """
    if not MODEL_REPO.is_dir():
        raise ConfigurationError(f"got no {MODEL_REPO}: the embedded stack runs from a checkout, installed with `-e`")
    if interest_model is None:
        return MODEL_REPO
    from encoders.hierarchy_files import load_learned  # noqa: PLC0415  # torch, which nothing else here needs
    from encoders.interest_export import export_interests  # noqa: PLC0415  # as above

    made, text = data_dir / "triton" / "models", served_encoder(MODEL_REPO)
    try:
        trained = load_learned(interest_model)
        if text is not None and trained.encoder_id != text.encoder_id:
            raise ConfigurationError(
                f"--interest-model: {trained.model_id} was trained on vectors of {trained.encoder_id}, but "
                f"{text.config} serves {text.encoder_id}: train it anew; `interests train` takes that one by default"
            )
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(MODEL_REPO, made)
        export_interests(interest_model, made)
    except ModelError as error:
        raise ConfigurationError(f"--interest-model: {error}") from error
    return made


def answers_about_people(repo: Path, url: str) -> Alive | None:
    """Whether the model of interests in a repository answers at `url`; None where there is no such model.

    As with texts, False only where Triton answers that the model's process is dead. Raises ConfigurationError where the
    model's folder cannot be read.
    """
    folder = repo / MODEL_NAME / "1"
    if not folder.is_dir():
        return None
    try:
        served = read_served(folder)
    except ModelError as error:
        raise ConfigurationError(str(error)) from error

    async def alive() -> bool | None:
        client = TritonInterests(url, encoder_id=served.encoder_id, deadline_s=INFER_S)
        try:
            await client.answers(Histories.empty(1, served.history, served.dim))
        except InterestsError as error:
            return False if BROKEN.search(str(error)) else None
        finally:
            await client.close()
        return True

    return alive
