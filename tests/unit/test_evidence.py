"""Evidence as it is stored: packed and read back, that of before among it."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from streams.events.event import EventType
from streams.interests.evidence import Evidence, pack_evidence, unpack_evidence

_IDS = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40)
_ENTRIES = st.builds(
    Evidence, _IDS, _IDS, st.integers(0, 2**42), st.floats(-100, 100, width=16), st.sampled_from(get_args(EventType))
)


@given(st.lists(_ENTRIES, max_size=8))
def test_evidence_comes_back_as_it_was(entries: list[Evidence]) -> None:
    back = unpack_evidence(pack_evidence(entries))
    assert [entry[:3] for entry in back] == [entry[:3] for entry in entries]
    assert [entry.type for entry in back] == [entry.type for entry in entries]


def test_what_was_stored_before_entries_had_a_type_still_reads() -> None:
    assert unpack_evidence("e1\x1fi1\x1f1700000000000\x1f-1.5\x1ee2\x1f\x1f5\x1f1") == (
        Evidence("e1", "i1", 1_700_000_000_000, -1.5),
        Evidence("e2", "", 5, 1.0),
    )
