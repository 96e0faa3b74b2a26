"""Labels to embeddings: open_clip's cleaning and token ids, and the cache of what was encoded."""

import html
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ftfy
import numpy as np
import regex
import tokenizers
from numpy.typing import NDArray

from classifier.clip import Clip, TextSettings
from classifier.errors import ClientError

# Cleaning takes time by the character; a text that fits the context is far shorter.
MOST_CHARACTERS = 10_000
SAVED_PROMPTS = 10_000
SAVED_BYTES = 64_000_000


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

    def encode(self, text: str, field: str | None = None) -> list[int]:
        """The ids of a text with start and end id, at most the context length. Raises ClientError, for `field`."""
        settings = self._settings
        if len(text) > MOST_CHARACTERS:
            said = f"has {len(text)} characters; at most {MOST_CHARACTERS} are read, and the model itself sees far fewer"
            raise ClientError(400, "label_too_long", f"The label {said}.", field)
        clean = self.clean(text)
        if not clean:
            raise ClientError(
                400, "invalid_request", "The label is empty once white space is removed; say what to look for.", field
            )
        for token in settings.special_tokens:
            if token in clean:
                raise ClientError(400, "invalid_request", f"The label spells {token}, which is a mark of the model's own.", field)
        ids: list[int] = self._bpe.encode(self._pattern.findall(clean), is_pretokenized=True, add_special_tokens=False).ids
        if len(ids) + 2 > settings.context_length:
            most = settings.context_length - 2
            raise ClientError(400, "label_too_long", f"The label has {len(ids)} tokens; the model reads at most {most}.", field)
        return [settings.start_id, *ids, settings.end_id]


@dataclass(frozen=True)
class Prompt:
    """A text, the ids of what the model sees of it, and its embedding once there is one."""

    text: str
    ids: tuple[int, ...]
    embedding: NDArray[np.float32] | None = None


class Prompts:
    """Texts to normalised embeddings, the most recently used ones from memory."""

    def __init__(self, clip: Clip, *, most: int = SAVED_PROMPTS, most_bytes: int = SAVED_BYTES) -> None:
        self._clip = clip
        self._tokenizer = Tokenizer(clip.folder, clip.settings.text)
        self._saved: OrderedDict[str, Prompt] = OrderedDict()
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0

    def read(self, text: str, field: str) -> Prompt:
        """The prompt of a text, encoded already if it was seen lately. Raises ClientError, for `field`."""
        saved = self._saved.get(text)
        if saved is not None:
            self._saved.move_to_end(text)
            return saved
        return Prompt(text, tuple(self._tokenizer.encode(text, field)))

    def embed(self, prompts: list[Prompt], in_time: Callable[[], bool]) -> NDArray[np.float32]:
        """[n, d], row by row; what isn't saved is encoded and saved while `in_time`.

        Raises a 503 ClientError when time runs out; what is finished by then stays saved.
        """
        rows: dict[tuple[int, ...], NDArray[np.float32]] = {p.ids: p.embedding for p in prompts if p.embedding is not None}
        missing = list(OrderedDict((p.ids, p) for p in prompts if p.embedding is None and p.ids not in rows).values())
        for start in range(0, len(missing), 16):
            if not in_time():
                raise ClientError(503, "out_of_time", "Time ran out; send the same request again: what was done so far is kept.")
            some = missing[start : start + 16]
            for prompt, row in zip(some, self._clip.encode_text([list(p.ids) for p in some]), strict=True):
                rows[prompt.ids] = row
                self._save(Prompt(prompt.text, prompt.ids, row))
        return np.stack([rows[prompt.ids] for prompt in prompts])

    def _save(self, prompt: Prompt) -> None:
        self._saved[prompt.text] = prompt
        self._bytes += _size(prompt)
        while len(self._saved) > self._most or self._bytes > self._most_bytes:
            self._bytes -= _size(self._saved.popitem(last=False)[1])


def _size(prompt: Prompt) -> int:
    # Python's own objects weigh more than the text: about 500 bytes, and 36 an id.
    return 500 + 4 * len(prompt.text) + 36 * len(prompt.ids) + (0 if prompt.embedding is None else prompt.embedding.nbytes)
