"""Tokenizers of the Hugging Face hub: what open_clip's HFTokenizer makes of their files, as a
bundle's settings and tables. Without the libraries that wrote them.

What a bundle can't express exactly is refused before weights are fetched.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.contract.bundle import TextSettings, TokenizerFiles, sha256
from export.errors import ExportError
from export.sources import hub
from export.tokenizers.reader import T5_EXTRA_IDS, Reader
from export.tokenizers.sentencepiece import XLM_ROBERTA, as_json
from export.tokenizers.tables import Tables, write_tables

# The first that the repository has is read; the others have the names of T5's and of XLM-R's.
MODELS = ("tokenizer.json", "spiece.model", XLM_ROBERTA)
CONFIG = "tokenizer_config.json"


@dataclass(frozen=True)
class HubTokenizer:
    settings: TextSettings
    tables: Tables
    files: TokenizerFiles

    def write(self, folder: Path) -> None:
        write_tables(self.tables, folder)


def fetch(
    repository: str,
    text: Mapping[str, Any],
    say: Callable[[str], None],
    *,
    dynamic_length: bool,
    revision: str | None = None,
    licence: str | None = None,
    accepted: str | None = None,
    language: str | None = None,
) -> HubTokenizer:
    """From the hub or its cache. `text`: open_clip's text_cfg. Raises ExportError."""
    fetched = hub.fetch(repository, MODELS, revision, licence, accepted, say)
    paths = [fetched.path]
    config = hub.fetch_optional(repository, CONFIG, fetched.revision)
    if config:
        paths.append(config)
    settings, tables = read(
        repository, fetched.path, config, text, dynamic_length=dynamic_length, language=language
    )
    files = TokenizerFiles(
        source=repository,
        revision=fetched.revision,
        licence=fetched.licence or f"unknown: see where {repository} came from",
        sha256={path.name: sha256(path) for path in paths},
    )
    return HubTokenizer(settings, tables, files)


def read(
    name: str,
    model: Path,
    config: Path | None,
    text: Mapping[str, Any],
    *,
    dynamic_length: bool,
    language: str | None = None,
) -> tuple[TextSettings, Tables]:
    """`model`: a file of a name in MODELS; `config`: tokenizer_config.json, which may be
    missing. Raises ExportError that names the tokenizer.
    """
    try:
        given = json.loads(config.read_text(encoding="utf-8")) if config else {}
        if model.suffix == ".json":
            spec = json.loads(model.read_text(encoding="utf-8"))
        else:
            spec = as_json(model, given.get("extra_ids", T5_EXTRA_IDS))
        return Reader(spec, given, text).read(dynamic_length, language)
    except ExportError as err:
        raise ExportError(f"The tokenizer {name} can't be put into a bundle: {err}.") from err
    except (LookupError, ValueError, TypeError, AttributeError) as err:
        raise ExportError(
            f"The tokenizer {name} can't be read: {type(err).__name__} {err} in {model.name}."
        ) from err
