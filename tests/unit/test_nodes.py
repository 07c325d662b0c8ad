"""A node's id is a uuid5, as anybody can make it with a library of their own language."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from streams.interests.nodes import NAMESPACE, NodeKey, node_id


@given(user=st.text(), path=st.text())
def test_the_id_is_the_uuid5_of_user_level_and_path(user: str, path: str) -> None:
    assert node_id(NodeKey(user, "topic", path)) == str(uuid.uuid5(NAMESPACE, f"{user}\x1ftopic\x1f{path}"))
