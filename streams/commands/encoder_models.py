"""What Triton serves of the encoder that a migration goes to: the text encoder, and its model of learned interests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.base.errors import ConfigurationError, EncoderUnavailable
from streams.commands.connections import ANSWER_WITHIN_S, encoder_of

if TYPE_CHECKING:
    from streams.encoder.text_model import EncoderInfo
    from streams.settings.service import Settings


async def model_info(there: Settings, to: str) -> EncoderInfo:
    """The text encoder that `there` names; ConfigurationError where Triton does not serve it."""
    try:
        async with encoder_of(there, ANSWER_WITHIN_S) as encoder:
            return await encoder.info()
    except (EncoderUnavailable, ConfigurationError) as error:
        raise ConfigurationError(
            f"Triton does not serve {to}: {error}. Put it beside the other one: interests encoder export MODEL "
            f"--name {to.rpartition('/')[2]} --out REPOSITORY, then restart Triton"
        ) from error


async def check_learned(there: Settings, info: EncoderInfo) -> None:
    """ConfigurationError where the model of learned interests is not served, or reads vectors of another encoder."""
    from streams.settings.wiring import interest_client

    client = interest_client(there, info.encoder_id, deadline_s=ANSWER_WITHIN_S)
    if client is None:
        return
    try:
        await client.info()
    except (EncoderUnavailable, ConfigurationError) as error:
        raise ConfigurationError(
            f"--learned {there.learned.model}: {error}. Train one on vectors of {info.encoder_id} and export it under "
            "this name, or leave --learned away: learned nodes then follow once there is one"
        ) from error
    finally:
        await client.close()
