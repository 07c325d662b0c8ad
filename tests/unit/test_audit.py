"""`make audit` calls nothing safe that was not looked up."""

from __future__ import annotations

from deploy.audit import FOUND, LOCK, UNKNOWN, Outcome, outcome_of, pinned

LOOKED_UP = {"name": "idna", "version": "3.7", "vulns": []}
BAD = {"name": "jinja2", "version": "3.1.0", "vulns": [{"id": "GHSA-1", "fix_versions": ["3.1.6"]}]}
SKIPPED = {"name": "strange", "skip_reason": "not found"}


def test_the_exit_code_tells_what_is_known() -> None:
    assert outcome_of({"dependencies": [LOOKED_UP]}).code == 0
    assert outcome_of({"dependencies": [LOOKED_UP, SKIPPED]}).code == UNKNOWN
    assert outcome_of({"dependencies": []}).code == UNKNOWN
    assert outcome_of({"dependencies": [LOOKED_UP, SKIPPED, BAD]}).code == FOUND
    assert outcome_of({"dependencies": [BAD]}).vulnerable == ["jinja2 3.1.0: GHSA-1, mended in 3.1.6"]
    assert Outcome().code == UNKNOWN


def test_every_package_of_the_lock_is_asked_for() -> None:
    names = [line.split("==")[0] for line in pinned(LOCK.read_text())]
    assert len(names) == len(set(names)) > 100
    assert {"aiokafka", "cryptography", "faust-streaming", "qdrant-client"} <= set(names)
