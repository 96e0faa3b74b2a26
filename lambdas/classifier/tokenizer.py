"""Texts to open_clip's token ids."""

import html
from pathlib import Path

import ftfy
import regex
import tokenizers

from classifier.bundle import TextSettings
from classifier.errors import ClientError


class Tokenizer:
    """Gives open_clip's ids. `regex` splits, because the tokenizers library has an older Unicode's tables; that library does the BPE."""

    def __init__(self, folder: Path, settings: TextSettings) -> None:
        self._settings = settings
        self._pattern = regex.compile(settings.pattern, regex.IGNORECASE)
        self._bpe = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

    def clean(self, text: str) -> str:
        """The text as the model sees it; two texts with equal results are the same to it."""
        unescaped = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
        return " ".join(unescaped.split()).lower()

    def encode(self, text: str, field: str | None = None, subject: str = "The label") -> list[int]:
        """Token ids with start and end id, at most the context length.

        Raises ClientError for `field`, with a message about `subject`.
        """
        settings = self._settings
        clean = self.clean(text)
        if not clean:
            message = f"{subject} is empty without its white space; say what to look for."
            raise ClientError(400, "invalid_request", message, field)
        for token in settings.special_tokens:
            if token in clean:
                raise ClientError(400, "invalid_request", f"{subject} contains {token}, which the model reserves.", field)
        ids: list[int] = self._bpe.encode(self._pattern.findall(clean), is_pretokenized=True, add_special_tokens=False).ids
        maximum = settings.context_length - 2
        if len(ids) > maximum:
            raise ClientError(
                400, "label_too_long", f"{subject} has {len(ids)} tokens; the model reads at most {maximum}.", field
            )
        return [settings.start_id, *ids, settings.end_id]
