"""Values checked against their models, with every error in our own words, never a library's."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from classifier.contract.errors import ApiError, quoted, shortened
from classifier.contract.request.label_spec import LabelSpec
from classifier.contract.request.unknown import unknown
from classifier.contract.strict_json import JsonObject

M = TypeVar("M", bound=BaseModel)
# What joins several labels into one, and its name. Shells, and JSON encoded twice, leave
# a backslash and a letter of some.
_SEPARATORS: dict[str, Sequence[str]] = {
    "commas": ",，、،﹐﹑",
    "semicolons": ";；؛",
    "bars": "|｜¦",
    "tabs": ("\t", r"\t"),
    "parameters of a URL": ("&labels=",),
    "line breaks": (*"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", r"\n"),
}
_LABELS = '["a dog", "a cat"]'
# Examples of lists and objects, by the field that takes them.
_FORMS = {
    "labels": _LABELS,
    "parameters.candidate_labels": _LABELS,
    "categories": '{"animals": ["a dog", "a cat"]}, prompts for each name',
    "templates": '["a photo of {}."]',
    "images": '["…", "…"], each an image file in base64',
    "image_s3": '{"key": "…"}',
    "image_embedding": "[0.1, -0.2, …], the numbers that an earlier answer gave",
    "actions": '["review", "block"], the mildest first',
    "thresholds": '{"a dog": 0.5}, a probability for each label',
    "parameters": f'{{"candidate_labels": {_LABELS}}}',
    "options": '{"wait_for_model": true}',
    "fitted_on": '{"model": "…", "fingerprint": "…", "question": "…"}',
    "head": '{"vectors": "…", "scale": 100}',
    "head.learned_from": '["…"], the sha256 of each image',
}


def check_question(question: LabelSpec, *, one_label: bool = False) -> None:
    """Checks what no field can check alone. Raises ApiError."""
    if not one_label and not question.multi_label:
        check_joined_labels(question.labels, "labels")
    check_exactly_one(
        question,
        ("labels", "categories"),
        "is missing; say what to look for: labels or categories.",
    )
    contradictions = (
        ("combine", question.categories is None, "needs categories; send them, or remove it."),
        (
            "combine",
            question.multi_label and question.combine == "sum",
            'must be "max" with multi_label; send that, or remove it.',
        ),
        (
            "negative_template",
            not question.multi_label,
            "needs multi_label; send multi_label: true, or remove it.",
        ),
    )
    refuse(question, contradictions)


def refuse(sent: BaseModel, contradictions: Iterable[tuple[str, bool, str]]) -> None:
    """Raises ApiError for the first field that was sent and contradicts the others."""
    for name, is_wrong, message in contradictions:
        if is_wrong and name in sent.model_fields_set:
            raise ApiError(400, "invalid_request", f"{name} {message}", name)


def check_joined_labels(labels: Sequence[str] | None, field: str) -> None:
    """Raises ApiError for a single label that is several labels joined. It would get 1.0, and
    nobody would notice.
    """
    if labels is None or len(labels) > 1:
        return
    [label] = labels
    holds = [kind for kind, texts in _SEPARATORS.items() if any(text in label for text in texts)]
    if label.startswith("[") and label.endswith("]"):
        holds.append("brackets")
    if holds:
        message = (
            f"{field} has one entry, {quoted(label)}, which holds {' and '.join(holds)}. One label"
            f' alone always gets 1.0; send each label by itself: "labels": {_LABELS} in JSON,'
            " ?labels=a+dog&labels=a+cat in the URL."
        )
        raise ApiError(400, "invalid_request", message, field)


def check_exactly_one(question: LabelSpec, names: tuple[str, ...], missing: str) -> None:
    if not (sent := [name for name in names if getattr(question, name) is not None]):
        raise ApiError(400, "invalid_request", f"{names[0]} {missing}", names[0])
    if len(sent) > 1:
        raise ApiError(
            400,
            "invalid_request",
            f"{sent[0]} and {sent[1]} exclude each other; send one of them.",
            sent[1],
        )


def validate(model: type[M], value: JsonObject) -> M:
    """The object as its model. An optional field that is null counts as absent, since typed clients
    send it so.

    Raises ApiError.
    """
    _check_names(model, value)
    try:
        return model.model_validate(value)
    except ValidationError as err:
        raise _explain(err.errors(include_url=False, include_input=False)[0]) from err


def _check_names(model: type[BaseModel], value: JsonObject, prefix: str = "") -> None:
    """Raises ApiError for the first unknown field, before a million of them become errors."""
    known = model.model_fields
    for name, item in value.items():
        if name not in known:
            raise unknown(name, list(known), "field", prefix)
        inner = known[name].annotation
        if isinstance(item, dict) and isinstance(inner, type) and issubclass(inner, BaseModel):
            _check_names(inner, item, f"{prefix}{name}.")


def _explain(error: ErrorDetails) -> ApiError:
    """One message for each kind of error."""
    path = [shortened(str(part)) for part in error["loc"] if part != "[key]"]
    kind = error["type"]
    context = error.get("ctx", {})
    name = ".".join(path)
    if name in _FORMS:
        form = f": {_FORMS[name]}"
    else:
        form = ': ["a dog", "a cat"], its prompts' if path[0] == "categories" else ""
    minimum, maximum = (context.get(key, context.get(f"{key}_length")) for key in ("min", "max"))
    message = {
        "missing": "is missing.",
        "custom": error["msg"],
        "list_type": f"must be a list{form}.",
        "dict_type": f"must be an object{form}.",
        "model_type": f"must be an object{form}.",
        "string_type": "must be a string.",
        "bool_type": "must be true or false.",
        "int_type": "must be a whole number.",
        "float_type": "must be a number.",
        "finite_number": "must be a finite number.",
        "literal_error": f"must be one of: {context.get('expected')}.",
        "greater_than_equal": f"must be at least {context.get('ge')}.",
        "less_than_equal": f"must be at most {context.get('le')}.",
        "extra_forbidden": "is unknown; remove it.",
        "string_pattern_mismatch": f"must have the form {context.get('pattern')}.",
        "greater_than": f"must be more than {context.get('gt')}.",
        "string_unicode": "has half of a surrogate pair; send whole characters.",
        "string_too_short": "is empty; give it a value, or leave it out.",
        "string_too_long": f"is too long; at most {maximum} characters are allowed.",
        "too_short": f"needs at least {minimum} {'entry' if minimum == 1 else 'entries'}.",
        "too_long": f"has {context.get('actual_length')} entries; at most {maximum} are allowed.",
    }.get(kind, "is not valid.")
    return ApiError(400, "invalid_request", f"{name} {message}", name)
