"""What this package raises on purpose; it stands alone, so its errors are its own."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager


class ModelError(Exception):
    """A model, its files or a setting of it cannot be used; the message says what to change."""


class TextsRefused(Exception):
    """A request's texts are not to be encoded here: too long, not UTF-8, or meant for another model."""


class HistoriesRefused(Exception):
    """A request's histories are not to be read here: not finite, not in order, or meant for another model."""


@contextmanager
def ending_on_model_error(parser: argparse.ArgumentParser) -> Iterator[None]:
    """End a program of this package with 2 and the message, no traceback, where it raises ModelError."""
    try:
        yield
    except ModelError as error:
        parser.error(str(error))
