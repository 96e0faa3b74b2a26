"""Reads SentencePiece's files: the model (sentencepiece_model.proto) and its table of characters,
without the library.
"""

import base64
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.errors import ExportError

XLM_ROBERTA = "sentencepiece.bpe.model"
UNIGRAM = 1
# Numbers of the fields that are read.
PIECE, TRAINER, NORMALIZER = 1, 2, 3
MODEL_TYPE = 3
CHARSMAP = 2
CONTROL, USER_DEFINED = 3, 4


def as_json(path: Path, extra_ids: int) -> dict[str, Any]:
    """What Hugging Face's XLMRobertaTokenizer makes of a model that has its name, or T5Tokenizer,
    which adds `extra_ids`, in the form of tokenizer.json. Raises ExportError.
    """
    model = path.read_bytes()
    fields = list(_fields(model))
    trainer = dict(_fields(_only(fields, TRAINER)))
    if trainer.get(MODEL_TYPE, UNIGRAM) != UNIGRAM:
        raise ExportError(f"{path.name} is no Unigram model, and no other is read from such a file")
    pieces = [dict(_fields(value)) for number, value in fields if number == PIECE]
    vocabulary = [
        [piece[1].decode(), struct.unpack("<f", piece.get(2, bytes(4)))[0]] for piece in pieces
    ]
    special = {piece[1].decode(): True for piece in pieces if piece.get(3) == CONTROL}
    special |= {piece[1].decode(): False for piece in pieces if piece.get(3) == USER_DEFINED}
    # Both classes take these ids, whatever the model says.
    if path.name == XLM_ROBERTA:
        around = ["<s>", "A", "</s>"]
        unknown = 3
        named = ["<s>", "<pad>", "</s>", "<unk>"]
        vocabulary[:3] = [[token, 0.0] for token in named]
        vocabulary.append(["<mask>", 0.0])
        special |= dict.fromkeys([*named, "<mask>"], True)
    else:
        around = ["A", "</s>"]
        unknown = 2
        vocabulary += [[f"<extra_id_{i}>", 0.0] for i in range(extra_ids - 1, -1, -1)]
    ids = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    charsmap = charsmap_of(model)
    return {
        "added_tokens": [
            {"id": ids[token], "content": token, "special": control, "normalized": False}
            for token, control in special.items()
        ],
        "normalizer": charsmap
        and {
            "type": "Precompiled",
            "precompiled_charsmap": base64.b64encode(charsmap).decode(),
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A"}} if one == "A" else {"SpecialToken": {"id": one}}
                for one in around
            ],
            "special_tokens": {one: {"ids": [ids[one]]} for one in around if one != "A"},
        },
        "model": {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary},
    }


def charsmap_of(model: bytes) -> bytes | None:
    """A model's table of characters."""
    return dict(_fields(_only(list(_fields(model)), NORMALIZER))).get(CHARSMAP)


def read_charsmap(blob: bytes) -> dict[str, str]:
    """What each text becomes. `blob`: the size in bytes of a trie (darts-clone's double array),
    the trie, whose values are positions in the rest, and texts that end with a zero byte.
    """
    size = int.from_bytes(blob[:4], "little")
    units = struct.unpack(f"<{size // 4}I", blob[4 : 4 + size])
    texts = blob[4 + size :]
    # Nodes by their base: what reaches a node is its number's difference to that.
    children = defaultdict[int, list[int]](list)
    for node, unit in enumerate(units):
        if 0 < unit & 0x800000FF < 256:
            children[node ^ unit & 0xFF].append(node)
    rules: dict[str, str] = {}
    paths = [(0, b"")]
    while paths:
        node, path = paths.pop()
        for child in children[node ^ _offset(units[node])]:
            key = path + bytes([units[child] & 0xFF])
            if units[child] >> 8 & 1:
                start = units[child ^ _offset(units[child])] & 0x7FFFFFFF
                rules[key.decode()] = texts[start : texts.index(b"\0", start)].decode()
            paths.append((child, key))
    return rules


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 1 << 9) >> 6)


def _only(fields: list[tuple[int, Any]], number: int) -> bytes:
    return next((value for field, value in fields if field == number), b"")


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int, or bytes.
    https://protobuf.dev/programming-guides/encoding
    """
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield tag >> 3, varint()
            continue
        size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        yield tag >> 3, message[position : position + size]
        position += size
