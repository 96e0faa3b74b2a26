"""Small tokenizers of each kind, written by hand as the hub has their files, and bundles with
them.
"""

import json
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

from classifier.contract.bundle import MANIFEST, TOKENIZER, sha256
from export.tokenizers import hub_tokenizer
from export.tokenizers.parts import BYTE_CHARACTERS
from export.tokenizers.tables import write_tables
from tests.support.requests import DEMO

WORDS = ("▁a", "▁dog", "▁cat", "▁photo", "▁of")
LETTERS = [chr(code) for code in range(33, 127)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
CONTEXT_LENGTH = 77
Part = dict[str, Any]


def added(tokens: list[str]) -> list[Part]:
    return [
        {"id": i, "content": token, "special": True, "normalized": False}
        for i, token in enumerate(tokens)
    ]


def numbered(*parts: list[str]) -> dict[str, int]:
    return {piece: i for i, piece in enumerate(dict.fromkeys(chain(*parts)))}


def bpe(special: list[str], letters: list[str], words: list[str], **options: Any) -> Part:
    """Each word is merged from its first letter on."""
    starts = [word[:end] for word in words for end in range(2, len(word) + 1)]
    merges = [f"{start[:-1]} {start[-1]}" for start in dict.fromkeys(starts)]
    vocab = numbered(special, letters, starts)
    return {"type": "BPE", "vocab": vocab, "merges": merges, **options}


def template(start: str | None, end: str, ids: dict[str, int]) -> Part:
    pieces = [{"SpecialToken": {"id": start}}] if start else []
    return {
        "type": "TemplateProcessing",
        "single": [*pieces, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": end}}],
        "special_tokens": {token: {"ids": [ids[token]]} for token in (start, end) if token},
    }


METASPACE: Part = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}


def gemma() -> tuple[Part, Part]:
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    options = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    model = bpe([*special, *byte_pieces], ["▁", *LETTERS], [*WORDS, "a▁"], **options)
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    config = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right"}
    config |= {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")}
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious"}
    return {
        "added_tokens": added(special),
        "normalizer": replace,
        "pre_tokenizer": split,
        "post_processor": template(None, "<eos>", model["vocab"]),
        "model": model,
    }, config


def unigram() -> tuple[Part, Part]:
    pieces = [*SPECIAL, "▁", *LETTERS, *WORDS]
    vocab = [[piece, 0.0 if piece in SPECIAL else -10.0 / len(piece)] for piece in pieces]
    return {
        "added_tokens": added(SPECIAL),
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE],
        },
        "post_processor": template("<s>", "</s>", numbered(SPECIAL)),
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab},
    }, {"tokenizer_class": "XLMRobertaTokenizer"}


def nllb() -> tuple[Part, Part]:
    special = [*SPECIAL, "deu_Latn", "eng_Latn"]
    options = {"fuse_unk": True, "unk_token": "<unk>"}
    return {
        "added_tokens": added(special),
        "normalizer": None,
        "pre_tokenizer": METASPACE,
        "post_processor": None,
        "model": bpe(special, ["▁", *LETTERS], list(WORDS), **options),
    }, {"tokenizer_class": "NllbTokenizer"}


def roberta() -> tuple[Part, Part]:
    words = [word.replace("▁", BYTE_CHARACTERS[32]) for word in WORDS]
    return {
        "added_tokens": added(SPECIAL),
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "post_processor": {
            "type": "RobertaProcessing",
            "cls": ["<s>", 0],
            "sep": ["</s>", 2],
        },
        "model": bpe(SPECIAL, BYTE_CHARACTERS, words),
    }, {"tokenizer_class": "RobertaTokenizer"}


def bert() -> tuple[Part, Part]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [word.removeprefix("▁") for word in WORDS]
    vocab = numbered(special, LETTERS, [f"##{letter}" for letter in LETTERS], words)
    options = {"clean_text": True, "handle_chinese_chars": True, "lowercase": True}
    return {
        "added_tokens": added(special),
        "normalizer": {"type": "BertNormalizer", "strip_accents": None, **options},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template("[CLS]", "[SEP]", vocab),
        "model": {
            "type": "WordPiece",
            "vocab": vocab,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
    }, {"tokenizer_class": "BertTokenizer"}


KINDS = {"Gemma": gemma, "XLM-R": unigram, "NLLB": nllb, "RoBERTa": roberta, "BERT": bert}


def written(folder: Path, spec: Part, config: Part) -> tuple[Path, Path]:
    """tokenizer.json and tokenizer_config.json."""
    paths = folder / "tokenizer.json", folder / "tokenizer_config.json"
    for path, content in zip(paths, (spec, config), strict=True):
        path.write_text(json.dumps(content), encoding="utf-8")
    return paths


def bundle_with(folder: Path, kind: str, **options: Any) -> Path:
    """The demo bundle with the tokenizer of that kind; `options` are open_clip's for it. What its
    answers say means nothing.
    """
    bundle = folder / "bundle"
    shutil.copytree(DEMO, bundle)
    text = {"context_length": CONTEXT_LENGTH, "tokenizer_kwargs": options}
    paths = written(folder, *KINDS[kind]())
    settings, tables = hub_tokenizer.read(kind, *paths, text, dynamic_length=False)
    write_tables(tables, bundle)
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    manifest["text"] = settings.model_dump()
    file = bundle / TOKENIZER
    manifest["files"][TOKENIZER] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return bundle
