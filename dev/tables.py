"""The tables in docs/, made from the schema, the limits and the table of models."""

import json
import re

from pydantic import BaseModel

from classifier.contract.classifiers.file import ClassifierFile, Head
from classifier.contract.limits import (
    MAX_ANSWER_BYTES,
    MAX_CHARACTERS,
    MAX_IMAGES,
    MAX_LABELS,
    MAX_PROMPTS,
    MAX_TEMPLATES,
    MAX_TOTAL_CHARACTERS,
    MAX_TOTAL_LINES,
)
from classifier.contract.request.label_spec import LabelSpec
from classifier.contract.request.schema import ClassifyRequest
from classifier.contract.request.url_parameters import QUERY_PARAMETERS
from classifier.images.opened_image import MAX_HELD_PIXELS, MAX_PIXELS, MAX_TOTAL_PIXELS
from dev.error_texts import ERRORS
from dev.model_choice import model_choice

LIMITS = {
    "body": "about 6 MB, which is 4.5 MB of images before base64",
    "images": (
        f"{MAX_IMAGES} a request; {MAX_PIXELS / 1e6:.0f} million pixels each"
        f" ({MAX_HELD_PIXELS / 1e6:.0f} million in WebP, and in AVIF with transparency),"
        f" {MAX_TOTAL_PIXELS / 1e6:.0f} million together"
    ),
    "labels": f"{MAX_LABELS:,}, each as long as the model reads: 75 tokens for CLIP",
    "templates": f"{MAX_TEMPLATES}",
    "distinct prompts": f"{MAX_PROMPTS:,}: labels and their negatives, times templates",
    "text": (
        f"{MAX_CHARACTERS:,} characters a label, name or template; {MAX_TOTAL_CHARACTERS:,}"
        f" characters and {MAX_TOTAL_LINES:,} lines in all labels and negatives, times templates"
    ),
    "answer": (
        f"{MAX_ANSWER_BYTES / 1e6} MB; a larger one is refused before any work, with the number of"
        " images that fit"
    ),
    "time": "28 seconds, unless the deployment's `timeout` is shorter",
}


def _fields(model: type[BaseModel], without: type[BaseModel] = BaseModel) -> str:
    """The table of the model's fields, but for those that another table has."""
    rows = ["| field | meaning | default |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        if name in without.model_fields:
            continue
        default = field.get_default(call_default_factory=True)
        rows.append(
            f"| `{name}` | {field.description} |"
            f" {'' if field.is_required() or default is None else f'`{json.dumps(default)}`'} |"
        )
    return "\n".join(rows)


def tables() -> dict[str, str]:
    """The tables in the docs by the name in their marks."""
    errors = [
        "| status | code and meaning |",
        "|---|---|",
        *(f"| {status} | {meaning} |" for status, meaning in ERRORS.items()),
    ]
    limits = [
        "| what | limit |",
        "|---|---|",
        *(f"| {what} | {limit} |" for what, limit in LIMITS.items()),
    ]
    return {
        "fields": _fields(ClassifyRequest),
        "query": f"The URL may hold {', '.join(f'`{name}`' for name in QUERY_PARAMETERS)}.",
        "classifier": _fields(ClassifierFile, without=LabelSpec),
        "head": _fields(Head),
        "errors": "\n".join(errors),
        "limits": "\n".join(limits),
        "models": model_choice(),
    }


def with_tables(text: str) -> str:
    """The text with each table between its marks."""
    parts = tables()
    return re.sub(
        r"<!-- (\w+) -->\n.*?<!-- /\1 -->",
        lambda m: f"<!-- {m[1]} -->\n{parts[m[1]]}\n<!-- /{m[1]} -->",
        text,
        flags=re.S,
    )
