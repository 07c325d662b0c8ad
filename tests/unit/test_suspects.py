"""Which text crashes the encoder: ever smaller groups, and nobody quarantined for an outage."""

from __future__ import annotations

from streams.encoder.crash_suspects import CrashSuspects

KEYS = [b"%d" % n for n in range(64)]
CULPRIT = KEYS[41]


def hunt(suspects: CrashSuspects) -> int:
    """Ask for groups until one text is quarantined; what was encoded is cleared. Returns the number of crashes."""
    crashes = 0
    while not suspects.quarantined(CULPRIT):
        known = [n for n, key in enumerate(KEYS) if key in suspects]
        for group in suspects.groups(known, KEYS, 64):
            keys = [KEYS[n] for n in group]
            if CULPRIT in keys:
                crashes += 1
                suspects.crashed(keys)
                break
            suspects.clear(keys)
    return crashes


def test_one_of_sixty_four_is_found_in_four_crashes_and_nobody_else() -> None:
    suspects = CrashSuspects()
    suspects.suspect(KEYS)
    assert hunt(suspects) == 4
    assert not any(suspects.quarantined(key) for key in KEYS if key != CULPRIT)


def test_an_outage_without_a_canary_quarantines_nobody() -> None:
    suspects = CrashSuspects()
    for _ in range(100):
        suspects.suspect(KEYS[:1])
    assert not suspects.quarantined(KEYS[0])


def test_what_was_encoded_starts_anew() -> None:
    suspects = CrashSuspects()
    assert not suspects.crashed(KEYS[:1])
    suspects.clear(KEYS[:1])
    assert KEYS[0] not in suspects
    assert not suspects.crashed(KEYS[:1])
    assert suspects.crashed(KEYS[:1])


def test_it_remembers_the_latest_only() -> None:
    suspects = CrashSuspects(limit=10)
    suspects.suspect(KEYS)
    assert [key in suspects for key in KEYS] == [False] * 54 + [True] * 10
