"""What a text is read as: lookalikes, unseen characters and strokes undone, plain texts untouched."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events.lookalikes import as_read
from streams.events.text import normalise_text

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MIXED = st.text(st.sampled_from("abcoxyАВасоухпривтαοΩβIFN \u200bไ=∈\u0338\u200d\u0336\u0301é中文1.'"), max_size=40)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("pаypаl", "paypal"),  # Cyrillic а
        ("АВС nеws", "ABC news"),  # all of it Cyrillic, beside a word that mixes
        ("сору thаt", "copy that"),
        ("οne gοοd νiew", "one good view"),
        ("пpивeт", "привет"),  # Latin p and e in a Russian word
        ("gοοd", "good"),  # Greek ο
        ("Fо\u0301а", "Fóa"),  # a stress mark on a Cyrillic letter
        ("gr\u200bea\u2060t f\u00adilm", "great film"),
        ("好\u200b看", "好看"),
        ("v\u200di\u200ca", "via"),
        ("g\u0336r\u0336e\u0336a\u0336t\u0336", "great"),
        ("e\u0336\u0301t\u0336é", "été"),  # composed again
    ],
)
def test_what_looks_the_same_is_read_the_same(written: str, read: str) -> None:
    assert as_read(normalise_text(written)) == read


@pytest.mark.parametrize(
    "text",
    [
        "plain words", "Москва слезам не верит", "Ο λόγος του", "ДНК и DNA", "Я учу C++ и Rust", "10 kΩ, 5 μm",
        "IFNα and TGFβ", "dα, ΔH, Aβ", "Δt → 0", "naïve café", "người Việt", "łódź đ", "नमस्\u200dते", "می\u200cخواهم",
        "👩\u200d🚀", "1️⃣",
        "СССР news", "МОСКВА (Moscow)", "МАСТЕР PHOTOSHOP", "сахар, sugar", "О Twitter", "Apple і Google",
        "ρgh", "sinα = cosα", "γGTP, αKG, αSynuclein", "IFNγ", "⩽\u0338 and ∈\u0338", "x ≠ y ≮ z",
        "ภาษา\u200bไทย", "ភាសា\u200bខ្មែរ", "မြန်မာ\u200bစာ", "ᠠᠷ\u180eᠠ",
        "İstanbul ışığı", "Việt Nam ở đâu", "العَرَبِيَّةُ", "क्ष की कहानी", "👨\u200d👩\u200d👧\u200d👦 ❤️\u200d🔥",
        "Україна і Європа", "ҚазМұнайГаз", "Ελλάδα και Αθήνα",
        "ＮＢＡ 总决赛", "体验2D巅峰", "сор", "",
    ],
)  # fmt: skip
def test_what_is_written_as_it_is_meant_stays(text: str) -> None:
    text = normalise_text(text)
    assert as_read(text) == text


def test_a_text_of_nothing_else_is_not_emptied() -> None:
    assert as_read("\u0336") == "\u0336"


@given(MIXED)
def test_twice_is_once(text: str) -> None:
    once = as_read(normalise_text(text))
    assert as_read(once) == once
    assert normalise_text(once) == once


@pytest.mark.parametrize(
    "file", ["topics/agnews", "topics/thucnews-dev", "sentiment/waimai", "sentiment/sst2-train", "cardano/items"]
)
def test_no_text_of_the_logs_is_changed(file: str) -> None:
    path = DATA / f"{file}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"needs the real data {file} beside the repository")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [normalise_text(row[key]) for row in rows for key in ("text", "title", "description") if row.get(key)]
    assert [text for text in texts if as_read(text) != text] == []
