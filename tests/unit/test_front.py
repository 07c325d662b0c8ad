"""The front before the embedded broker: what it leaves out of an answer, and what it refuses."""

from __future__ import annotations

import pytest

from deploy.embedded.front import without_tags

HEAD = b"\x00\x00\x00\x07\x00\x00"
ENTRY = b"\x00\x12\x00\x00\x00\x03\x00"
THROTTLE = b"\x00\x00\x00\x00"


@pytest.mark.parametrize("count", [0, 1, 37, 126, 127, 300])
def test_the_tagged_fields_are_left_out_and_nothing_else(count: int) -> None:
    length = count + 1
    varint = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
    body = HEAD + varint + ENTRY * count + THROTTLE
    for tags in (b"\x00", b"\x04\x00\x01\x01\x01\x08" + b"\xff" * 8 + b"\x02\x01\x03\x01\x00"):
        assert without_tags(body + tags) == body + b"\x00"


@pytest.mark.parametrize("answer", [HEAD, HEAD + b"\x09" + ENTRY, b""])
def test_an_answer_shorter_than_it_says_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match="expected at least"):
        without_tags(answer)
