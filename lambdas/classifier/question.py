"""What a request looks for, read and checked before any encoder runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from classifier.clip import Settings
from classifier.errors import ClientError, shown
from classifier.prompts import Prompt, Prompts, Templates
from classifier.schema import MOST_ANSWER_BYTES, MOST_PROMPTS, SLOT, Classify

# The longest float64 in JSON, with what stands between two of them.
_NUMBER_BYTES = 26


@dataclass(frozen=True)
class Question:
    """The names of the answer, each with the indices of its prompts; what is `absent` stands against each prompt, one for all, or
    nothing."""

    names: Sequence[str]
    groups: Sequence[Sequence[int]]
    present: Sequence[Prompt]
    absent: Sequence[Prompt]

    @property
    def prompts(self) -> list[Prompt]:
        return [*self.present, *self.absent]


def read_question(asked: Classify, prompts: Prompts, settings: Settings) -> Question:
    """Raises ClientError for too many prompts, one that is too long, two that are the same to the model, or too large an answer."""
    if asked.categories is None:
        assert asked.labels is not None
        names, texts = asked.labels, asked.labels
    else:
        names, texts = list(asked.categories), list(chain.from_iterable(asked.categories.values()))
    # First without their negatives: a body holds a million short prompts, and each could be made a thousand characters long.
    _refuse_too_many(len(texts) * len(asked.templates))
    absences = _absences(asked, texts, settings)
    _refuse_too_many(len({*texts, *absences}) * len(asked.templates))
    if asked.categories is None:
        name = asked.path("labels")
        groups: list[Sequence[int]] = [[i] for i in range(len(names))]
        fields = [f"{name}.{i}" for i in range(len(names))]
    else:
        groups, fields = [], []
        for name, some in asked.categories.items():
            groups.append(range(len(fields), len(fields) + len(some)))
            fields += [asked.path("categories", name, i) for i in range(len(some))]
    templates = Templates(asked.templates)
    present = [prompts.read(text, templates, field) for text, field in zip(texts, fields, strict=True)]
    _refuse_twins(present, fields)
    one_for_all = SLOT not in asked.negative_template
    what = "The text" if one_for_all else "The label in negative_template"
    absent = [
        prompts.read(text, templates, "negative_template" if one_for_all else field, what)
        for text, field in zip(absences, fields, strict=False)
    ]
    for i, (one, field) in enumerate(zip(present, fields, strict=True) if absent else ()):
        other = absent[i % len(absent)]
        if one.ids == other.ids:
            message = (
                f"{field} {shown(one.text)} and its absence {shown(other.text)} are the same to the model; change one of them."
            )
            raise ClientError(400, "invalid_request", message, field)
    question = Question(names, groups, present, absent)
    _check_answer_size(asked, question, settings.dimension)
    return question


def _refuse_too_many(count: int) -> None:
    if count > MOST_PROMPTS:
        message = (
            f"These are {count:,} prompts (labels and their negatives, times templates); at most {MOST_PROMPTS:,} are taken."
        )
        raise ClientError(400, "too_many_prompts", message)


def _absences(asked: Classify, texts: Sequence[str], settings: Settings) -> list[str]:
    """What stands against each text, or one for all. Raises ClientError for a model that judges every label alone by itself."""
    if not asked.multi_label:
        return []
    if settings.scoring == "sigmoid":
        if "negative_template" in asked.model_fields_set:
            message = "negative_template means nothing to this model, which judges every label alone by itself; drop it."
            raise ClientError(400, "invalid_request", message, "negative_template")
        return []
    if SLOT not in asked.negative_template:
        return [asked.negative_template]
    return [asked.negative_template.replace(SLOT, text) for text in texts]


def _refuse_twins(prompts: Sequence[Prompt], fields: Sequence[str]) -> None:
    """Raises ClientError for two prompts that are the same to the model."""
    first: dict[tuple[int, ...], int] = {}
    for i, prompt in enumerate(prompts):
        j = first.setdefault(prompt.ids, i)
        if i != j:
            one, other = (f"{fields[k]} {shown(prompts[k].text)}" for k in (j, i))
            raise ClientError(400, "invalid_request", f"{one} and {other} are the same to the model; drop one.", fields[i])


def _check_answer_size(asked: Classify, question: Question, dimension: int) -> None:
    """Raises ClientError for an answer that could pass what Lambda can send."""

    def weights(texts: Sequence[str]) -> list[int]:
        # The answer travels as a JSON string inside JSON, at worst with all but ASCII escaped: seven bytes half a surrogate pair.
        # A bound does for one image and texts of an ordinary length, which can't come near the limit; it takes less time.
        exact = asked.images is not None or 14 * sum(map(len, texts)) > 1_000_000
        return [(len(json.dumps(json.dumps(text))) if exact else 14 * len(text) + 6) + _NUMBER_BYTES for text in texts]

    one = 300 + sum(sorted(weights(question.names), reverse=True)[: asked.top_k])
    one += _NUMBER_BYTES * dimension if asked.embedding else 0
    one += sum(weights([prompt.text for prompt in question.prompts])) if asked.details else 0
    count = len(asked.images) if asked.images else 1
    if one * count > MOST_ANSWER_BYTES:
        size, most, fit = one * count / 1e6, MOST_ANSWER_BYTES / 1e6, MOST_ANSWER_BYTES // one
        message = (
            f"The answer could take {size:.1f} MB; at most {most} MB can be sent. Ask for top_k, or for fewer images: {fit} fit."
        )
        raise ClientError(400, "answer_too_large", message)
