"""Small tokenizers of every kind that open_clip's models have, trained here and written as the hub
has their files. Needs the libraries `tokenizers` and `sentencepiece`.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers.normalizers import BertNormalizer, Precompiled, Replace, Strip

from export.judging.material import NOUNS, TEMPLATES, strings
from export.tokenizers.sentencepiece import charsmap_of

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def corpus(count: int = 4_000) -> list[str]:
    plain = [template.format(noun) for template in TEMPLATES for noun in NOUNS]
    return [*plain * 5, *(text[:400] for text in itertools.islice(strings(), count))]


def gemma(folder: Path) -> Path:
    """SigLIP 2's: BPE with bytes for unknown characters, and tokens of its own."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = Replace(" ", "▁")
    trainer = trainers.BpeTrainer(
        vocab_size=3_000,
        special_tokens=["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *BYTES],
        limit_alphabet=600,
        max_token_length=8,
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.lower() for text in corpus()], trainer)
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = spec["added_tokens"][:5]
    spec["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    for token in ("▁▁", "▁▁▁", "<unused0>", "dog▁"):
        spec["model"]["vocab"].setdefault(token, len(spec["model"]["vocab"]))
        spec["added_tokens"].append(
            spec["added_tokens"][0]
            | {
                "id": spec["model"]["vocab"][token],
                "content": token,
                "normalized": token == "▁▁▁",
                "special": False,
            }
        )
    spec["added_tokens"].sort(key=lambda token: token["id"])
    spec["post_processor"] = template("$A", "<eos>", ids={"<eos>": 1})
    config = {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": False,
        "add_eos_token": True,
        "padding_side": "right",
        **{f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk", "mask")},
    }
    return written(folder, spec, config)


def template(*pieces: str, ids: dict[str, int]) -> dict[str, Any]:
    def piece(name: str) -> dict[str, Any]:
        if name == "$A":
            return {"Sequence": {"id": "A", "type_id": 0}}
        return {"SpecialToken": {"id": name, "type_id": 0}}

    return {
        "type": "TemplateProcessing",
        "single": [piece(name) for name in pieces],
        "pair": [piece(name) for name in pieces] + [{"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]} for name, number in ids.items()
        },
    }


def roberta(folder: Path) -> Path:
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    named = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2_000, special_tokens=named, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return written(folder, json.loads(tokenizer.to_str()), {"tokenizer_class": "RobertaTokenizer"})


def spm(folder: Path, name: str, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.replace("\n", " ") for text in corpus(800) if text.strip()),
        model_prefix=str(folder / name),
        hard_vocab_limit=False,
        character_coverage=0.98,
        num_threads=1,
        minloglevel=2,
        normalization_rule_name="nmt_nfkc",
        **options,
    )
    (folder / f"{name}.vocab").unlink()
    return folder / f"{name}.model"


def charsmap_and_pieces(model: Path) -> tuple[bytes, list[tuple[str, float]]]:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    charsmap = charsmap_of(model.read_bytes())
    model.unlink()
    assert charsmap
    size = processor.get_piece_size()
    return charsmap, [(processor.id_to_piece(i), processor.get_score(i)) for i in range(size)]


def t5(folder: Path) -> Path:
    """SigLIP's first: the file as timm's repositories have it."""
    model = spm(folder, "trained", vocab_size=8_000, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    charsmap, pieces = charsmap_and_pieces(model)
    tokenizer = Tokenizer(models.Unigram(pieces, 2))
    tokenizer.normalizer = normalizers.Sequence(
        [Precompiled(charsmap), Strip(left=False, right=True), Replace(Regex(" {2,}"), "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    spec = json.loads(tokenizer.to_str())
    spec["post_processor"] = template("$A", "</s>", ids={"</s>": 1})
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "pad_token": "</s>"}
    return written(folder, spec, config)


def alone(folder: Path, name: str, config: dict[str, Any], **options: Any) -> Path:
    """A model of SentencePiece without a tokenizer.json."""
    spm(folder, name, vocab_size=8_000, **options)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def mt5(folder: Path) -> Path:
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    return alone(folder, "spiece", config, byte_fallback=True, **ids)


def xlm_v(folder: Path) -> Path:
    return alone(folder, "sentencepiece.bpe", {"tokenizer_class": "XLMRobertaTokenizer"})


def xlm_roberta(folder: Path) -> Path:
    model = spm(folder, "trained", vocab_size=8_000)
    charsmap, pieces = charsmap_and_pieces(model)
    vocabulary = [
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *pieces[3:],
        ("<mask>", 0.0),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, 3))
    tokenizer.normalizer = Precompiled(charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.add_special_tokens(
        ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, normalized=True)]
    )
    spec = json.loads(tokenizer.to_str())
    spec["post_processor"] = template("<s>", "$A", "</s>", ids={"<s>": 0, "</s>": 2})
    return written(folder, spec, {"tokenizer_class": "XLMRobertaTokenizer"})


def nllb(folder: Path) -> Path:
    model = spm(folder, "trained", vocab_size=8_000, model_type="bpe")
    charsmap, pieces = charsmap_and_pieces(model)
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    for piece, _ in pieces[3:]:
        vocabulary.setdefault(piece, len(vocabulary))
    scores = dict(pieces)
    pairs = sorted(
        (
            (-scores[piece], piece[:i], piece[i:])
            for piece in scores
            if piece in vocabulary
            for i in range(1, len(piece))
            if piece[:i] in vocabulary and piece[i:] in vocabulary
        ),
    )
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            [(left, right) for _, left, right in pairs],
            unk_token="<unk>",
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = Precompiled(charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(
        ["<s>", "<pad>", "</s>", "<unk>", "deu_Latn", "eng_Latn", "<mask>"]
    )
    spec = json.loads(tokenizer.to_str())
    ids = {"eng_Latn": tokenizer.token_to_id("eng_Latn"), "</s>": 2}
    spec["post_processor"] = template("eng_Latn", "$A", "</s>", ids=ids)
    config = {"tokenizer_class": "NllbTokenizer", "src_lang": "eng_Latn"}
    languages = {"additional_special_tokens": ["deu_Latn", "eng_Latn"]}
    return written(folder, spec, config | languages)


def bert(folder: Path) -> Path:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=3_000,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        limit_alphabet=800,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    spec = json.loads(tokenizer.to_str())
    spec["post_processor"] = template("[CLS]", "$A", "[SEP]", ids={"[CLS]": 2, "[SEP]": 3})
    return written(folder, spec, {"tokenizer_class": "BertTokenizer", "do_lower_case": True})


def written(folder: Path, spec: dict[str, Any], config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


# Of the kind that each model has.
OF_MODELS = {"ViT-B-32-SigLIP2-256": gemma, "xlm-roberta-base-ViT-B-32": xlm_roberta}
