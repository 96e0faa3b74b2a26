"""Measures what a character that nobody sees does to a label's embedding, read as open_clip reads
it and as we do, and prints the figures of docs/api.md: .venv/bin/python -m dev.benchmark.unseen.

The demo model, the labels of classifiers/drawings.json, each with a zero-width space behind each of
its letters in turn.
"""

import html
import json
import statistics
from pathlib import Path

import ftfy

from classifier.model.encoders import Encoders
from classifier.model.tokenizer import Tokenizer

UNSEEN = "\u200b"


class AsOpenClip(Tokenizer):
    """Cleans as open_clip does (open_clip/tokenizer.py), which keeps what nobody sees."""

    def clean(self, text: str) -> str:
        return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def cosines(encoders: Encoders, tokenizer: Tokenizer, labels: list[str]) -> list[float]:
    """Of each label with UNSEEN somewhere and the label itself."""
    pairs = [
        (label, label[:place] + UNSEEN + label[place:])
        for label in labels
        for place in range(1, len(label))
    ]
    plain, marked = (
        encoders.encode_text([tokenizer.encode(text) for text in texts])
        for texts in zip(*pairs, strict=True)
    )
    return [float(one @ other) for one, other in zip(plain, marked, strict=True)]


def main() -> None:
    encoders = Encoders.load(Path("models/demo"), threads=1)
    labels = json.loads(Path("classifiers/drawings.json").read_text(encoding="utf-8"))["labels"]
    for kind in (AsOpenClip, Tokenizer):
        found = cosines(encoders, kind(encoders.folder, encoders.manifest.text), labels)
        median, least = statistics.median(found), min(found)
        print(f"{kind.__name__}, {len(found)} texts: cosine {median:.3f} median, {least:.3f} least")


if __name__ == "__main__":
    main()
