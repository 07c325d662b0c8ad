"""What this package raises on purpose; it stands alone, so its errors are its own."""

from __future__ import annotations


class ModelError(Exception):
    """A model, its files or a setting of it cannot be used; the message says what to change."""


class TextsRefused(Exception):
    """A request's texts are not to be encoded here: too long, not UTF-8, or meant for another model."""
