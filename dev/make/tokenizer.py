"""Writes CLIP's own tokenizer, which every bundle of a model that has it takes from the demo's."""

from pathlib import Path

import numpy as np
import open_clip

from classifier.contract.bundle import TextSettings, read_manifest
from export.pipeline import DEMO, write_settings
from export.tokenizers.tables import merges, write_tables


def text_settings(name: str) -> TextSettings:
    tokenizer = open_clip.get_tokenizer(name)
    return TextSettings(
        cleaning="lower",
        special_tokens=["<start_of_text>", "<end_of_text>"],
        added_tokens={},
        charsmap=None,
        replacements=[],
        normalized_tokens={},
        pattern=f"(?i){tokenizer.pat.pattern}",
        kind="byte-bpe",
        unknown_id=None,
        start_ids=[tokenizer.sot_token_id],
        end_ids=[tokenizer.eot_token_id],
        language=None,
        context_length=tokenizer.context_length,
        pad_id=0,
        dynamic_length=True,
    )


def write_tokenizer(name: str, folder: Path) -> None:
    """open_clip's BPE as the run time reads it; cleaning and splitting are the run time's own."""
    tokenizer = open_clip.get_tokenizer(name)
    ids = tokenizer.encoder
    ranked = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    symbols = [tokenizer.byte_encoder[byte] for byte in range(256)]
    last = [f"{symbol}</w>" for symbol in symbols]
    tables = merges(
        [(ids[left], ids[right]) for left, right in ranked],
        [ids[left + right] for left, right in ranked],
    )
    tables["bytes"] = np.array([ids[symbol] for symbol in [*symbols, *last]], np.uint32)
    write_tables(tables, folder)


def main() -> None:
    manifest = read_manifest(DEMO, verify_hashes=False)
    write_tokenizer("ViT-B-32", DEMO)
    text = text_settings("ViT-B-32").model_copy(
        update={"context_length": manifest.text.context_length}
    )
    write_settings(DEMO, manifest.model_copy(update={"text": text}))


if __name__ == "__main__":
    main()
