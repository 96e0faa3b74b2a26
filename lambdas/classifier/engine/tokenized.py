"""Turns texts into token ids, in every template. Without numpy, so that deploying can check
prompts.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from classifier.contract.request.fields import SLOT
from classifier.model.tokenizer import TokenIds, Tokenizer

Key = tuple[str, str]


class Templates:
    """Sentences with one slot each, and a short key for the set of them."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self.sentences = sentences
        self.plain = list(sentences) == [SLOT]
        self.key = "" if self.plain else hashlib.sha256(json.dumps(sentences).encode()).hexdigest()

    def key_of(self, text: str) -> Key:
        return self.key, text


@dataclass(frozen=True)
class Prompt:
    """`key`: of the templates and the text; `ids`: of the text alone."""

    key: Key
    text: str
    ids: TokenIds


@dataclass(frozen=True)
class NewPrompt(Prompt):
    """A text that isn't encoded yet. `token_ids_by_template`: the distinct ones to encode."""

    token_ids_by_template: tuple[TokenIds, ...]


class Prompts(Protocol):
    def lookup(
        self, text: str, templates: Templates, field: str, subject: str = "The label"
    ) -> Prompt:
        """Raises ApiError for `field`, with a message about `subject`."""


class PromptTokenizer:
    """Makes prompts with a bundle's tokenizer alone, which is enough to check them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def lookup(
        self, text: str, templates: Templates, field: str, subject: str = "The label"
    ) -> NewPrompt:
        key = templates.key_of(text)
        ids = tuple(self._tokenizer.encode(text, field, subject))
        if templates.plain:
            return NewPrompt(key, text, ids, (ids,))
        filled = (
            tuple(
                self._tokenizer.encode(
                    sentence.replace(SLOT, text), field, f"{subject} in a template"
                )
            )
            for sentence in templates.sentences
        )
        return NewPrompt(key, text, ids, tuple(dict.fromkeys(filled)))
