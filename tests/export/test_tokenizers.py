"""Tokenizers of the hub give the ids of open_clip's HFTokenizer, or are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from open_clip.tokenizer import HFTokenizer

from classifier.contract.bundle import TextSettings
from classifier.model.tokenizer import Tokenizer
from dev.make.characters import make_characters
from export.errors import ExportError
from export.judging.reference import check_tokens
from export.tokenizers import hub_tokenizer
from export.tokenizers.hub_tokenizer import CONFIG, MODELS
from export.tokenizers.parts import CHARACTERS
from export.tokenizers.tables import write_tables
from tests.support import trained_tokenizers as trained
from tests.support.hub import COMMIT, REPOSITORY, Hub, run

Train = Callable[[Path], Path]
# How to train it, open_clip's options, and the context length of the model that has both.
KINDS: dict[str, tuple[Train, dict[str, Any], int]] = {
    "SigLIP 2": (trained.gemma, {"clean": "canonicalize"}, 64),
    "Gemma's with punctuation": (trained.gemma, {}, 64),
    "SigLIP": (trained.t5, {"clean": "canonicalize"}, 64),
    "mT5": (trained.mt5, {}, 77),
    "XLM-V": (trained.xlm_v, {}, 77),
    "XLM-R": (trained.xlm_roberta, {}, 77),
    "NLLB": (trained.nllb, {}, 77),
    "RoBERTa": (trained.roberta, {}, 77),
    "CLIPA": (trained.bert, {"strip_sep_token": True}, 32),
}


def made(
    folder: Path, options: dict[str, Any], length: int, language: str | None = None
) -> tuple[Tokenizer, TextSettings]:
    model = next(folder / name for name in MODELS if (folder / name).exists())
    text = {"context_length": length, "tokenizer_kwargs": options}
    settings, tables = hub_tokenizer.read(
        "trained", model, folder / CONFIG, text, dynamic_length=False, language=language
    )
    write_tables(tables, folder)
    return Tokenizer(folder, settings), settings


@pytest.mark.parametrize("kind", KINDS)
def test_strings_of_all_scripts_get_open_clips_ids_or_are_rightly_refused(
    kind: str, tmp_path: Path
) -> None:
    train, options, length = KINDS[kind]
    folder = train(tmp_path / "tokenizer")
    mine, settings = made(folder, options, length)
    theirs = HFTokenizer(str(folder), context_length=length, **options)
    counts = check_tokens(mine, settings, theirs)
    assert counts["strings_with_equal_ids"] >= 20_000
    assert 100 < counts["strings_rightly_refused"] < 20_000


def test_a_bundles_language_is_the_one_that_nllb_was_trained_with(tmp_path: Path) -> None:
    folder = trained.nllb(tmp_path)
    theirs = HFTokenizer(str(folder), context_length=77)
    # open_clip's own option `language` is undone by the library at each call.
    theirs.tokenizer.src_lang = "deu_Latn"
    mine, settings = made(folder, {}, 77, "deu_Latn")
    ids = mine.encode("ein Hund")
    assert settings.language == "deu_Latn"
    assert theirs("ein Hund")[0].tolist()[: len(ids)] == ids
    assert made(folder, {}, 77)[0].encode("ein Hund")[1:] == ids[1:]
    with pytest.raises(ExportError, match="no language de; it has deu_Latn, eng_Latn"):
        made(folder, {}, 77, "de")


def test_the_file_of_characters_is_what_the_library_says() -> None:
    assert json.loads(CHARACTERS.read_text(encoding="utf-8")) == make_characters()


FETCH = """
from export.tokenizers import hub_tokenizer
from export.errors import ExportError
try:
    sides = {{"context_length": 77}}
    made = hub_tokenizer.fetch({repository!r}, sides, print, dynamic_length=False)
    print(made.files.model_dump_json())
except ExportError as err:
    raise SystemExit(str(err))
"""


def test_a_tokenizer_is_fetched_with_its_revision_hashes_and_licence(
    hub: Hub, tmp_path: Path
) -> None:
    folder = trained.roberta(tmp_path / "tokenizer")
    files = {name: (folder / name).read_bytes() for name in (MODELS[0], CONFIG)}
    hub.others = files
    program = ["-c", FETCH.format(repository=REPOSITORY)]
    done = run(program, tmp_path, f"http://127.0.0.1:{hub.server_address[1]}")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert (record["source"], record["revision"], record["licence"]) == (REPOSITORY, COMMIT, "mit")
    assert record["sha256"].keys() == files.keys()
    # Offline the cache has it all.
    again = run(program, tmp_path, "http://127.0.0.1:9")
    assert json.loads(again.stdout.splitlines()[-1]) == record, again.stderr
    assert not [request for request in hub.requests if "safetensors" in request]
