"""What a bundle can't express exactly is refused by name with its reason."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.errors import ExportError
from export.sources.source import Request
from export.tokenizers import hub_tokenizer
from tests.support.tokenizers import CONTEXT_LENGTH, KINDS, Part, written

Change = Callable[[Part, Part], object]
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}


def token(**options: Any) -> Part:
    return {"id": 5, "content": "<own>", "special": False, "normalized": False, **options}


CHANGES: list[tuple[str, Change, str]] = [
    ("XLM-R", lambda spec, _: spec.update(normalizer={"type": "NFKC"}), "texts by NFKC"),
    (
        "XLM-R",
        lambda spec, _: spec.update(
            normalizer={"type": "Replace", "pattern": {"Regex": "a|b"}, "content": ""}
        ),
        "replaces the pattern 'a|b'",
    ),
    ("XLM-R", lambda spec, _: spec.update(pre_tokenizer={"type": "Digits"}), "texts by Digits"),
    (
        "XLM-R",
        lambda spec, _: spec["pre_tokenizer"]["pretokenizers"].__setitem__(1, METASPACE),
        "WhitespaceSplit and Metaspace in a way of its own",
    ),
    ("XLM-R", lambda spec, _: spec["model"].update(byte_fallback=True), "for bytes"),
    ("XLM-R", lambda spec, _: spec["model"].update(unk_id=None), "no <unk>"),
    ("XLM-R", lambda spec, _: spec["model"].update(type="WordLevel"), "its model is WordLevel"),
    ("XLM-R", lambda spec, _: spec["added_tokens"].append(token(lstrip=True)), "option lstrip"),
    (
        "XLM-R",
        lambda spec, _: spec.update(post_processor={"type": "Other"}),
        "around texts by Other",
    ),
    ("XLM-R", lambda _, config: config.update(padding_side="left"), "pads texts on the left"),
    ("XLM-R", lambda _, config: config.update(pad_token="<none>"), "no token to pad"),
    (
        "XLM-R",
        lambda _, config: config.update(added_tokens_decoder={"9": {"content": "<new>"}}),
        "a token that it lacks, <new>",
    ),
    ("XLM-R", lambda spec, _: spec["model"]["vocab"].append("x"), "can't be read: ValueError"),
    ("XLM-R", lambda spec, _: spec.pop("model"), "can't be read: KeyError 'model'"),
    (
        "RoBERTa",
        lambda _, config: config.update(add_prefix_space=True),
        "its configuration says add_prefix_space=True",
    ),
    (
        "BERT",
        lambda _, config: config.update(do_lower_case=False),
        "its configuration says do_lower_case=False",
    ),
    ("Gemma", lambda _, config: config.pop("padding_side"), "pads texts on the left"),
    ("Gemma", lambda spec, _: spec.update(normalizer=None), "Split in a way of its own"),
    ("Gemma", lambda spec, _: spec["model"].update(dropout=0.1), "its BPE has dropout"),
    ("Gemma", lambda spec, _: spec["model"].update(ignore_merges=True), "has ignore_merges"),
    ("Gemma", lambda spec, _: spec["model"].update(fuse_unk=False), "each unknown character"),
    ("Gemma", lambda spec, _: spec["model"]["vocab"].pop("<0x41>"), "a byte, <0x41>"),
    (
        "NLLB",
        lambda spec, _: (
            spec["added_tokens"].append(token()),
            spec.update(pre_tokenizer=METASPACE),
        ),
        "marks the first word",
    ),
    (
        "BERT",
        lambda spec, _: spec["normalizer"].update(lowercase=False),
        "with lowercase=False",
    ),
    (
        "BERT",
        lambda spec, _: spec["normalizer"].update(strip_accents=False),
        "strip_accents=False",
    ),
    (
        "BERT",
        lambda spec, _: spec["model"].update(max_input_chars_per_word=9),
        "max_input_chars_per_word=9",
    ),
    ("BERT", lambda spec, _: spec.update(normalizer=None), "BertPreTokenizer in a way of its own"),
]


@pytest.mark.parametrize(("kind", "change", "reason"), CHANGES, ids=[row[2] for row in CHANGES])
def test_a_tokenizer_that_a_bundle_cannot_express_is_refused(
    kind: str, change: Change, reason: str, tmp_path: Path
) -> None:
    spec, config = KINDS[kind]()
    read(kind, tmp_path, spec, config)
    change(spec, config)
    with pytest.raises(ExportError) as refusal:
        read(kind, tmp_path, spec, config)
    assert str(refusal.value).startswith("The tokenizer timm/some can't be ")
    assert reason in str(refusal.value)


def test_clips_own_tokenizer_leaves_no_choice() -> None:
    request = Request("ViT-B-32", "openai")
    assert request.tokenizer("ViT-B-32", None, True, print) is None
    for option in ("language", "tokenizer_revision"):
        with pytest.raises(ExportError, match=f"own tokenizer.*leave out {option.upper()}=some"):
            replace(request, **{option: "some"}).tokenizer("ViT-B-32", None, True, print)


def older(spec: Part) -> None:
    """As files were before they named everything."""
    del spec["model"]["type"]
    for part in (spec["pre_tokenizer"], *spec["pre_tokenizer"].get("pretokenizers", ())):
        if part.pop("prepend_scheme", None):
            part["add_prefix_space"] = True


@pytest.mark.parametrize("kind", KINDS)
def test_older_files_say_the_same(kind: str, tmp_path: Path) -> None:
    spec, config = deepcopy(KINDS[kind]())
    settings, tables = read(kind, tmp_path, spec, config)
    older(spec)
    again, same = read(kind, tmp_path, spec, config)
    assert (again, same.keys()) == (settings, tables.keys())


def read(kind: str, folder: Path, spec: Part, config: Part, **more: Any) -> Any:
    text = {"context_length": CONTEXT_LENGTH} | more.pop("text", {})
    paths = written(folder, spec, config)
    return hub_tokenizer.read("timm/some", *paths, text, dynamic_length=False, **more)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"text": {"tokenizer_mode": "clips"}}, "in the mode clips"),
        ({"text": {"tokenizer_kwargs": {"use_fast": False}}}, "open_clip gives it use_fast"),
        ({"language": "de"}, "no languages, and LANGUAGE=de was given"),
    ],
    ids=str,
)
def test_options_that_a_bundle_cannot_express_are_refused(
    more: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=reason):
        read("XLM-R", tmp_path, *KINDS["XLM-R"](), **more)
