"""Labels or categories to the prompts that stand for them, checked before any encoder runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from classifier.contract.bundle import BundleManifest
from classifier.contract.errors import ApiError, quoted
from classifier.contract.query import Query, Question
from classifier.contract.schema import (
    MAX_ANSWER_BYTES,
    MAX_CHARACTERS,
    MAX_PROMPTS,
    MAX_TOTAL_CHARACTERS,
    MAX_TOTAL_LINES,
    NEGATIVE,
    SLOT,
)
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import Prompt, PromptCache, Templates

# The longest float64 in JSON, and what separates two of them.
_NUMBER_BYTES = 26
# What a region takes beside its probabilities.
_BOX_BYTES = 4 * _NUMBER_BYTES + 60
# What a name that counts takes beside itself, one number and its action.
_COUNTED_BYTES = _NUMBER_BYTES + 100


@dataclass(frozen=True)
class PromptSet:
    """The names in the answer and, for each, the indices of its positives. `negatives`: one per
    positive, one shared by all, or none.
    """

    names: Sequence[str]
    groups: Sequence[Sequence[int]]
    positives: Sequence[Prompt]
    negatives: Sequence[Prompt]

    @property
    def prompts(self) -> list[Prompt]:
        return [*self.positives, *self.negatives]


def make_prompt_set(
    query: Query, cache: PromptCache, manifest: BundleManifest, context: RequestContext
) -> PromptSet:
    """Raises ApiError for too many or too long prompts, two that are the same to the model, too
    large an answer, or lack of time.
    """
    question = query.question
    texts = question.prompts
    # Before the negatives are written out: a body holds a million short prompts, and a template can
    # make each a thousand characters.
    _check_count(len(texts) * len(question.templates))
    groups, fields = _group(query)
    _check_lengths(texts, fields)
    negative = question.negative_template or NEGATIVE
    negative_texts = _negative_texts(question, negative, manifest)
    _check_count(len({*texts, *negative_texts}) * len(question.templates))
    _check_total([*texts, *negative_texts], question.templates)
    templates = Templates(question.templates)

    def look_up(texts: Sequence[str], fields: Sequence[str], subject: str) -> list[Prompt]:
        prompts = []
        for text, field in zip(texts, fields, strict=False):
            context.check_deadline("send fewer labels or templates in one request.")
            prompts.append(cache.lookup(text, templates, field, subject))
        return prompts

    positives = look_up(texts, fields, "The label")
    _check_duplicates(positives, fields)
    if SLOT in negative:
        negatives = look_up(negative_texts, fields, "The label in negative_template")
    else:
        negatives = look_up(negative_texts, ["negative_template"], "The text")
    _check_negatives(positives, negatives, fields)
    prompt_set = PromptSet(question.names, groups, positives, negatives)
    check_answer_size(query, prompt_set, manifest.dimension)
    return prompt_set


def look_up_texts(
    texts: Sequence[str], fields: Sequence[str], cache: PromptCache, context: RequestContext
) -> list[Prompt]:
    """Texts by themselves, of which some may be the same. Raises ApiError for too many or too long
    ones, or lack of time.
    """
    _check_count(len(texts))
    _check_lengths(texts, fields, "The text")
    _check_total(texts, [SLOT])
    prompts = []
    for text, field in zip(texts, fields, strict=True):
        context.check_deadline("send fewer texts in one request.")
        prompts.append(cache.lookup(text, Templates([SLOT]), field, "The text"))
    return prompts


def _group(query: Query) -> tuple[list[Sequence[int]], list[str]]:
    """The prompts' indices by name, and each prompt's path in the request."""
    if query.question.categories is None:
        name = query.path("labels")
        count = len(query.question.prompts)
        return [[i] for i in range(count)], [f"{name}.{i}" for i in range(count)]
    groups: list[Sequence[int]] = []
    fields: list[str] = []
    for name, prompts in query.question.categories.items():
        groups.append(range(len(fields), len(fields) + len(prompts)))
        fields += [query.path("categories", name, i) for i in range(len(prompts))]
    return groups, fields


def _negative_texts(question: Question, template: str, manifest: BundleManifest) -> list[str]:
    """Raises ApiError if the model itself judges each label alone, and so takes no negatives."""
    if not question.multi_label:
        return []
    if manifest.scoring == "sigmoid":
        if question.negative_template is not None:
            message = (
                "negative_template has no meaning for this model, which judges each label alone by"
                " itself; remove it."
            )
            raise ApiError(400, "invalid_request", message, "negative_template")
        return []
    if SLOT not in template:
        return [template]
    return [template.replace(SLOT, text) for text in question.prompts]


def _check_count(count: int) -> None:
    if count > MAX_PROMPTS:
        message = (
            f"These are {count:,} prompts (labels and their negatives, times templates); at most"
            f" {MAX_PROMPTS:,} are allowed."
        )
        raise ApiError(400, "too_many_prompts", message)


def _check_lengths(texts: Sequence[str], fields: Sequence[str], subject: str = "The label") -> None:
    """Raises ApiError for a label that no model reads, before anything takes time for its
    characters.
    """
    for text, field in zip(texts, fields, strict=True):
        if len(text) > MAX_CHARACTERS:
            message = (
                f"{subject} has {len(text)} characters; at most {MAX_CHARACTERS} are allowed, and"
                " the model reads far fewer."
            )
            raise ApiError(400, "label_too_long", message, field)


def _check_total(texts: Sequence[str], templates: Sequence[str]) -> None:
    """Raises ApiError for more characters or lines than cleaning has time for, all texts in all
    templates together.
    """
    for unit, maximum, counts in (
        (
            "characters",
            MAX_TOTAL_CHARACTERS,
            [[len(text) for text in group] for group in (texts, templates)],
        ),
        (
            "line breaks",
            MAX_TOTAL_LINES,
            [[text.count("\n") for text in group] for group in (texts, templates)],
        ),
    ):
        of_texts, of_templates = map(sum, counts)
        total = of_texts * len(templates) + of_templates * len(texts)
        if total > maximum:
            message = (
                f"The labels and their negatives, in all templates, have {total:,} {unit}; at most"
                f" {maximum:,} are allowed."
            )
            raise ApiError(400, "too_many_prompts", message)


def _check_duplicates(prompts: Sequence[Prompt], fields: Sequence[str]) -> None:
    """Raises ApiError for two prompts that are the same to the model."""
    first: dict[tuple[int, ...], int] = {}
    for i, prompt in enumerate(prompts):
        j = first.setdefault(prompt.ids, i)
        if i != j:
            one, other = (f"{fields[k]} {quoted(prompts[k].text)}" for k in (j, i))
            raise ApiError(
                400,
                "invalid_request",
                f"{one} and {other} are the same to the model; remove one.",
                fields[i],
            )


def _check_negatives(
    positives: Sequence[Prompt], negatives: Sequence[Prompt], fields: Sequence[str]
) -> None:
    """Raises ApiError for a positive that is the same to the model as its negative."""
    for i, (positive, field) in enumerate(zip(positives, fields, strict=True) if negatives else ()):
        negative = negatives[i % len(negatives)]
        if positive.ids == negative.ids:
            texts = f"{quoted(positive.text)} and its negative {quoted(negative.text)}"
            raise ApiError(
                400,
                "invalid_request",
                f"{field} {texts} are the same to the model; change one of them.",
                field,
            )


def check_answer_size(query: Query, prompt_set: PromptSet, dimension: int) -> None:
    """Raises ApiError for an answer that could be larger than Lambda can send."""

    def sizes(texts: Sequence[str]) -> list[int]:
        # The answer travels as a JSON string inside JSON, at worst with everything but ASCII
        # escaped: seven bytes for half a surrogate pair. For one image and texts of ordinary length
        # a quick bound is enough, since they can't come near the limit.
        exact = query.several or query.regions or 14 * sum(map(len, texts)) > 1_000_000
        return [
            (len(json.dumps(json.dumps(text))) if exact else 14 * len(text) + 6) + _NUMBER_BYTES
            for text in texts
        ]

    names = sum(sorted(sizes(prompt_set.names), reverse=True)[: query.top_k])
    counted = [size + _COUNTED_BYTES for size in sizes(list(query.question.thresholds or ()))]
    action = max(sizes(query.question.actions or ()), default=0)
    entry = (
        300
        + names
        + sum(counted)
        + action * (len(counted) + 1)
        + (_BOX_BYTES + names) * query.regions**2
    )
    entry += _NUMBER_BYTES * dimension if query.embedding else 0
    entry += sum(sizes([prompt.text for prompt in prompt_set.prompts])) if query.details else 0
    size = entry * (len(query.images) if query.several else 1)
    if size > MAX_ANSWER_BYTES:
        limit = MAX_ANSWER_BYTES / 1e6
        fit = MAX_ANSWER_BYTES // entry
        message = (
            f"The answer could take {size / 1e6:.1f} MB; at most {limit} MB can be sent. Ask for"
            f" top_k, or for fewer images: {fit} fit."
        )
        message += " Or ask for fewer regions." if query.regions else ""
        raise ApiError(400, "answer_too_large", message)
