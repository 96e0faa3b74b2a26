"""Labels to embeddings: open_clip's cleaning and token ids, and the cache of what was encoded."""

import hashlib
import html
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ftfy
import numpy as np
import regex
import tokenizers
from numpy.typing import NDArray

from classifier.clip import Clip, TextSettings
from classifier.errors import ClientError
from classifier.schema import MOST_CHARACTERS, SLOT
from classifier.scoring import mean

SAVED_PROMPTS = 10_000
SAVED_BYTES = 64_000_000
# Encoded between two looks at the clock.
ROUND = 32
Ids = tuple[int, ...]


class Tokenizer:
    """Gives open_clip's ids. `regex` splits, since the tables of the tokenizers library are of an older Unicode; it does the BPE."""

    def __init__(self, folder: Path, settings: TextSettings) -> None:
        self._settings = settings
        self._pattern = regex.compile(settings.pattern, regex.IGNORECASE)
        self._bpe = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

    def clean(self, text: str) -> str:
        """What the model sees of a text; equal results are the same to it."""
        plain = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
        return " ".join(plain.split()).lower()

    def encode(self, text: str, field: str | None = None, what: str = "The label") -> list[int]:
        """The ids of a text with start and end id, at most the context length. Raises ClientError, for `field`."""
        settings = self._settings
        if len(text) > MOST_CHARACTERS:
            said = f"has {len(text)} characters; at most {MOST_CHARACTERS} are read, and the model itself sees far fewer"
            raise ClientError(400, "label_too_long", f"{what} {said}.", field)
        clean = self.clean(text)
        if not clean:
            raise ClientError(
                400, "invalid_request", f"{what} is empty once white space is removed; say what to look for.", field
            )
        for token in settings.special_tokens:
            if token in clean:
                raise ClientError(400, "invalid_request", f"{what} spells {token}, which is a mark of the model's own.", field)
        ids: list[int] = self._bpe.encode(self._pattern.findall(clean), is_pretokenized=True, add_special_tokens=False).ids
        if len(ids) + 2 > settings.context_length:
            most = settings.context_length - 2
            raise ClientError(400, "label_too_long", f"{what} has {len(ids)} tokens; the model reads at most {most}.", field)
        return [settings.start_id, *ids, settings.end_id]


class Templates:
    """Sentences with one slot, and a short key for what they are together."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self.sentences = sentences
        self.plain = list(sentences) == [SLOT]
        self.key = "" if self.plain else hashlib.sha256(json.dumps(sentences).encode()).hexdigest()


@dataclass(frozen=True)
class Prompt:
    """A text, the ids of what the model sees of it alone, the distinct ids of its templates while it isn't encoded, then its
    embedding: the mean over the templates."""

    text: str
    ids: Ids
    key: tuple[str, str]
    variants: tuple[Ids, ...]
    embedding: NDArray[np.float32] | None = None


class Prompts:
    """Texts to normalised embeddings, the most recently used ones from memory."""

    def __init__(self, clip: Clip, *, most: int = SAVED_PROMPTS, most_bytes: int = SAVED_BYTES) -> None:
        self._clip = clip
        self._tokenizer = Tokenizer(clip.folder, clip.settings.text)
        self._saved: OrderedDict[tuple[str, str], Prompt] = OrderedDict()
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0

    def read(self, text: str, templates: Templates, field: str, what: str = "The label") -> Prompt:
        """The prompt of a text, encoded already if it was seen lately with these templates. Raises ClientError, for `field`."""
        key = (templates.key, text)
        saved = self._saved.get(key)
        if saved is not None:
            self._saved.move_to_end(key)
            return saved
        ids = tuple(self._tokenizer.encode(text, field, what))
        if templates.plain:
            return Prompt(text, ids, key, (ids,))
        filled = (
            tuple(self._tokenizer.encode(one.replace(SLOT, text), field, f"{what} in a template")) for one in templates.sentences
        )
        return Prompt(text, ids, key, tuple(dict.fromkeys(filled)))

    def embed(self, prompts: Sequence[Prompt], in_time: Callable[[], bool]) -> list[NDArray[np.float32]]:
        """An embedding [d] a prompt; what isn't saved is encoded and saved while `in_time`.

        Raises a 503 ClientError when time runs out; what is finished by then stays saved.
        """
        missing = list({prompt.key: prompt for prompt in prompts if prompt.embedding is None}.values())
        waiting = list(dict.fromkeys(ids for prompt in missing for ids in prompt.variants))
        rows: dict[Ids, NDArray[np.float32]] = {}
        found: dict[tuple[str, str], NDArray[np.float32]] = {}
        for start in range(0, len(waiting), ROUND):
            if not in_time():
                raise ClientError(503, "out_of_time", "Time ran out; send the same request again: what was done so far is kept.")
            some = waiting[start : start + ROUND]
            rows.update(zip(some, self._clip.encode_text([list(ids) for ids in some]), strict=True))
            while len(found) < len(missing) and all(ids in rows for ids in missing[len(found)].variants):
                prompt = missing[len(found)]
                found[prompt.key] = mean([rows[ids] for ids in prompt.variants])
                self._save(replace(prompt, variants=(), embedding=found[prompt.key]))
        return [found[prompt.key] if prompt.embedding is None else prompt.embedding for prompt in prompts]

    def _save(self, prompt: Prompt) -> None:
        self._saved[prompt.key] = prompt
        self._bytes += _size(prompt)
        while len(self._saved) > self._most or self._bytes > self._most_bytes:
            self._bytes -= _size(self._saved.popitem(last=False)[1])


def _size(prompt: Prompt) -> int:
    # Python's own objects weigh more than the text: about 700 bytes, and 36 an id.
    return 700 + 4 * len(prompt.text) + 36 * len(prompt.ids) + (0 if prompt.embedding is None else prompt.embedding.nbytes)
