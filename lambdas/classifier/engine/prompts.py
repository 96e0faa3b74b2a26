"""Turns labels or categories into prompts, and checks these before any encoder runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifier.contract.bundle import BundleManifest
from classifier.contract.errors import ApiError, quoted
from classifier.contract.request.fields import NEGATIVE, SLOT
from classifier.contract.request.query import Query, Question
from classifier.engine.context import RequestContext
from classifier.engine.limits import check_answer_size, check_count, check_lengths, check_total
from classifier.engine.tokenized import Prompt, Prompts, Templates


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

    @property
    def texts(self) -> list[str]:
        return [prompt.text for prompt in self.prompts]


def make_prompt_set(
    query: Query, known: Prompts, manifest: BundleManifest, context: RequestContext
) -> PromptSet:
    """Raises ApiError for too many or too long prompts, two that are the same to the model, too
    large an answer, or lack of time.
    """
    question = query.question
    texts = question.prompts
    # Checked before the negatives are written out: a body can hold a million short prompts, and a
    # template can make each of them a thousand characters long.
    check_count(len(texts) * len(question.templates))
    groups, fields = _group(query)
    check_lengths(texts, fields)
    negative = question.negative_template or NEGATIVE
    negative_texts = _negative_texts(question, negative, manifest)
    check_count(len({*texts, *negative_texts}) * len(question.templates))
    check_total([*texts, *negative_texts], question.templates)
    templates = Templates(question.templates)

    def look_up(texts: Sequence[str], fields: Sequence[str], subject: str) -> list[Prompt]:
        prompts = []
        for text, field in zip(texts, fields, strict=False):
            context.check_deadline("send fewer labels or templates in one request.")
            prompts.append(known.lookup(text, templates, field, subject))
        return prompts

    positives = look_up(texts, fields, "The label")
    _check_duplicates(positives, fields)
    if SLOT in negative:
        negatives = look_up(negative_texts, fields, "The label in negative_template")
    else:
        negatives = look_up(negative_texts, ["negative_template"], "The text")
    _check_negatives(positives, negatives, fields)
    prompt_set = PromptSet(question.names, groups, positives, negatives)
    check_answer_size(query, prompt_set.names, prompt_set.texts, manifest.dimension)
    return prompt_set


def look_up_texts(
    texts: Sequence[str], fields: Sequence[str], known: Prompts, context: RequestContext
) -> list[Prompt]:
    """The prompts of plain texts, some of which may be the same. Raises ApiError for too many or
    too long ones, or lack of time.
    """
    check_count(len(texts))
    check_lengths(texts, fields, "The text")
    check_total(texts, [SLOT])
    prompts = []
    for text, field in zip(texts, fields, strict=True):
        context.check_deadline("send fewer texts in one request.")
        prompts.append(known.lookup(text, Templates([SLOT]), field, "The text"))
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
                "negative_template has no meaning for this model, which judges each label alone;"
                " remove it."
            )
            raise ApiError(400, "invalid_request", message, "negative_template")
        return []
    if SLOT not in template:
        return [template]
    return [template.replace(SLOT, text) for text in question.prompts]


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
