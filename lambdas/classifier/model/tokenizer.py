"""Texts to open_clip's token ids."""

import re
from functools import cached_property
from pathlib import Path
from typing import Protocol

from classifier.contract.bundle import TextSettings
from classifier.contract.errors import ApiError
from classifier.model.merges import Merges

# What cleaning leaves as it is but for white space and capitals: no character reference, no control
# character.
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")
# The letters and digits of ASCII, for the pattern's classes of all scripts'.
_CLASSES = {r"\p{L}": "a-zA-Z", r"\p{N}": "0-9"}


class _Pattern(Protocol):
    def findall(self, string: str, /) -> list[str]: ...


class Tokenizer:
    """Gives open_clip's ids. What only other texts than plain ASCII need is imported when the first
    of them comes.
    """

    def __init__(self, folder: Path, settings: TextSettings) -> None:
        self._settings = settings
        self._merges = Merges(folder / "merges.bin")
        plain = settings.pattern
        for name, characters in _CLASSES.items():
            plain = plain.replace(name, characters)
        self._plain = re.compile(plain, re.IGNORECASE)

    @cached_property
    def _full(self) -> _Pattern:
        import regex

        full: _Pattern = regex.compile(self._settings.pattern, regex.IGNORECASE)
        return full

    def clean(self, text: str) -> str:
        """The text as the model sees it; two texts with equal results are the same to it."""
        if not _PLAIN.fullmatch(text):
            import html

            import ftfy

            text = html.unescape(html.unescape(ftfy.fix_text(text)))
        return " ".join(text.split()).lower()

    def encode(self, text: str, field: str | None = None, subject: str = "The label") -> list[int]:
        """Token ids with start and end id, at most the context length.

        Raises ApiError for `field`, with a message about `subject`.
        """
        settings = self._settings
        clean = self.clean(text)
        if not clean:
            message = f"{subject} is empty without its white space; say what to look for."
            raise ApiError(400, "invalid_request", message, field)
        for token in settings.special_tokens:
            if token in clean:
                raise ApiError(
                    400,
                    "invalid_request",
                    f"{subject} contains {token}, which the model reserves.",
                    field,
                )
        pattern = self._plain if clean.isascii() else self._full
        ids = [one for word in pattern.findall(clean) for one in self._merges.encode(word)]
        maximum = settings.context_length - 2
        if len(ids) > maximum:
            raise ApiError(
                400,
                "label_too_long",
                f"{subject} has {len(ids)} tokens; the model reads at most {maximum}.",
                field,
            )
        return [settings.start_id, *ids, settings.end_id]
