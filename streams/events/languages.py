"""Language tags (BCP 47) as people write them: in any case, with hyphens or underscores. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def within(tag: str, wanted: str) -> bool:
    """Whether a tag is in a language range: `en` has `en-US` in it, `en-US` has not `en` (RFC 4647, section 3.3.1)."""
    tag, wanted = _plain(tag), _plain(wanted)
    return wanted in ("*", tag) or tag.startswith(f"{wanted}-")


def best(tags: Iterable[str], wanted: str) -> str | None:
    """The tag to use for a language: the one wanted, or with the fewest subtags off its end (RFC 4647, section 3.4).

    Chinese of Taiwan, Hong Kong and Macao is in Traditional script.
    """
    known = {_plain(tag): tag for tag in tags}
    left = _plain(wanted)
    if left in ("zh-tw", "zh-hk", "zh-mo"):
        left = "zh-hant"
    while left:
        if left in known:
            return known[left]
        left = left.rpartition("-")[0]
        if left[-2:-1] == "-":  # a subtag of one letter says what those after it are
            left = left[:-2]
    return None


def _plain(tag: str) -> str:
    return tag.strip().replace("_", "-").lower()
