"""Writes what the docs say from what the code does: `make document`.

lambdas/classifier/api/openapi.json, docs/classifier.schema.json and the tables in docs/
come from the models, the answers below the commands in README.md and docs/api.md from the demo
model.
"""

import base64
import json
import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from classifier.api.embeddings import EmbeddingRequest, Embeddings
from classifier.api.form import ONE_FILE, SEVERAL_FILES
from classifier.api.hugging_face import HuggingFaceRequest
from classifier.api.models import ModelInfo, Models
from classifier.api.moderations import Moderation, ModerationRequest
from classifier.api.openai import OpenAIError
from classifier.contract.answers import Classifiers, ErrorBody, Health, Result, Results, Score
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
from classifier.contract.request.media_types import BINARY_TYPES, IMAGE_TYPES, MULTIPART_TYPE
from classifier.contract.request.schema import ABSENT, ClassifyRequest
from classifier.contract.request.url_parameters import QUERY_LISTS, QUERY_PARAMETERS
from classifier.contract.strict_json import JsonObject
from classifier.images.opened_image import MAX_HELD_PIXELS, MAX_PIXELS, MAX_TOTAL_PIXELS
from tools.local.gateway import Context
from tools.local.serve import load, running

DOCUMENT = Path("lambdas/classifier/api/openapi.json")
README = Path("README.md")
API = Path("docs/api.md")
CLASSIFIERS = Path("docs/classifiers.md")
CLASSIFIER_SCHEMA = Path("docs/classifier.schema.json")
DEMO = Path("models/demo")
# A command, and its answer below it.
COMMAND = re.compile(r"```sh\n((?:(?!```).)*?)```\n\n```(json|text)\n(.*?)\n```\n", re.S)
STARS = Path("examples/images/stars-small.png")
LABELS = ["a star", "a circle"]
DESCRIPTION = (
    "Send an image and a few labels in plain words; get back how likely each label is.\n\n"
    "Send the header `x-api-key: …` if the deployment asks for a key. Every answer carries"
    " `Server-Timing` (milliseconds spent on decoding, on the image and on the text) and `X-Model`."
    " An image may have 50 million pixels; a request, 100 million pixels and 2,000 distinct"
    " prompts."
)
# By status: the codes and what they mean.
ERRORS = {
    "400": (
        "`invalid_json`, `invalid_request`, `invalid_image`, `too_many_prompts`, `label_too_long`"
        " or `answer_too_large`: not JSON; a missing, unknown, mistyped, out-of-range or"
        " contradictory field; an image that can't be decoded; more than a limit allows."
    ),
    "403": (
        "`forbidden`: no API key or a wrong one, API Gateway's own answer; or a key of `image_s3`"
        " that may not be read."
    ),
    "404": "`not_found`: there is nothing at this path; or no object under the key of `image_s3`.",
    "405": "`not_found`: this path takes other methods; `Allow` lists them.",
    "413": (
        "`too_large`: too many pixels, or too many bytes in S3; and, in the gateway's own words, a"
        " body over about 6 MB."
    ),
    "415": "`unsupported_media_type`: neither JSON nor an image of a known format.",
    "429": "`too_many_requests`: over the throttle. API Gateway's own answer.",
    "500": (
        "`internal_error`: a fault of the service; its log has the details. `unavailable`: no"
        " environment was free, API Gateway's own answer."
    ),
    "502": "`unavailable`: the function failed to start. API Gateway's own answer.",
    "503": (
        "`out_of_time`: time ran out; `Retry-After` says when to try again, and the labels encoded"
        " so far stay cached. `unavailable`: API Gateway's own answer."
    ),
    "504": "`out_of_time`: no answer within 29 seconds. API Gateway's own answer.",
}

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


class Published(GenerateJsonSchema):
    """What an answer may leave out is never null: a default of None is no part of the contract."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonObject:
        inner = schema["schema"]
        if schema.get("default", ...) is None and inner["type"] == "nullable":
            return self.generate_inner(inner["schema"])
        return super().default_schema(schema)


class Taken(Published):
    """What a request may leave out may also be null."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonObject:
        published = super().default_schema(schema)
        default = {"default": published.pop("default")} if "default" in published else {}
        return {"anyOf": [published, ABSENT]} | default


def _without_titles(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _without_titles(v)
            for k, v in value.items()
            if not (k == "title" and isinstance(v, str))
        }
    return [_without_titles(item) for item in value] if isinstance(value, list) else value


def _schemas(models: Sequence[type[BaseModel]], generator: type[Published]) -> JsonObject:
    schemas: JsonObject = _without_titles(
        models_json_schema(
            [(model, "validation") for model in models],
            schema_generator=generator,
            ref_template="#/components/schemas/{model}",
        )[1]["$defs"]
    )
    return schemas


def _as_text(field: JsonObject) -> JsonObject:
    """A field's schema in a query or a form, which can't hold null."""
    kept = {k: v for k, v in field.items() if k not in ("anyOf", "description")}
    return {**field["anyOf"][0], **kept}


def _form(fields: JsonObject) -> JsonObject:
    """A form with files: one of the names of a single image, or images, and texts."""
    file = {"type": "string", "format": "binary"}
    files: JsonObject = {
        name: file | {"description": "The file of one image."} for name in ONE_FILE
    }
    files[SEVERAL_FILES] = {
        "type": "array",
        "items": file,
        "minItems": 1,
        "maxItems": MAX_IMAGES,
        "description": "Files of images; the answer has an entry for each.",
    }
    texts = {
        name: _as_text(fields[name]) | {"description": fields[name]["description"]}
        for name in QUERY_PARAMETERS
    }
    return {
        "schema": {
            "type": "object",
            "description": "Texts may stand in the URL instead. An empty field counts as left out.",
            "properties": files | texts,
            "oneOf": [{"required": [name]} for name in files],
            "additionalProperties": False,
        },
        "encoding": {name: {"contentType": ", ".join(IMAGE_TYPES)} for name in files},
    }


def _reference(model: type[BaseModel]) -> JsonObject:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def examples() -> dict[str, tuple[JsonObject, JsonObject | list[JsonObject]]]:
    """Requests and what the demo model answers, probabilities to four digits."""
    handler = load(DEMO)
    image = base64.b64encode(STARS.read_bytes()).decode()
    requests: dict[str, JsonObject] = {
        "labels": {"image_data": image, "labels": LABELS},
        "multi_label": {
            "image_data": image,
            "labels": LABELS,
            "multi_label": True,
            "details": True,
        },
        "categories": {
            "image_data": image,
            "categories": {"shapes": LABELS, "animals": ["a dog", "a cat"]},
            "combine": "max",
        },
        "images": {
            "images": [image, "AAAA"],
            "labels": LABELS,
            "templates": ["{}", "a picture of {}"],
            "top_k": 1,
        },
        "thresholds": {
            "image_data": image,
            "labels": LABELS,
            "thresholds": {"a star": 0.8},
            "min_similarity": 0.1,
        },
        "classifier": {"image_data": image, "classifier": "drawings", "top_k": 1},
        "hugging_face": {"inputs": image, "parameters": {"candidate_labels": LABELS}},
    }
    pairs = {}
    for name, body in requests.items():
        event = {"httpMethod": "POST", "resource": "/", "body": json.dumps(body)}
        answer = handler(event, Context(time.monotonic() + 60, name))
        assert answer["statusCode"] == 200, answer
        pairs[name] = (
            body,
            json.loads(answer["body"], parse_float=lambda text: round(float(text), 4)),
        )
    return pairs


def _openai(
    name: str, summary: str, request: type[BaseModel], answer: type[BaseModel]
) -> JsonObject:
    """A path in OpenAI's form; API Gateway's own answers keep theirs."""
    errors = {
        status: {
            "description": description,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_reference(OpenAIError), _reference(ErrorBody)]}
                }
            },
        }
        for status, description in ERRORS.items()
        if status != "404"
    }
    return {
        "post": {
            "operationId": name,
            "summary": f"{summary} Asks for the key like `POST /`.",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _reference(request)}},
            },
            "responses": (
                {
                    "200": {
                        "description": summary,
                        "content": {"application/json": {"schema": _reference(answer)}},
                    }
                }
                | errors
            ),
        }
    }


def _get(name: str, summary: str, answer: type[BaseModel], parameter: str = "") -> JsonObject:
    """A path that is asked without a body. Errors under /v1 have OpenAI's form."""
    body = (
        [_reference(ErrorBody)]
        if name == "health"
        else [_reference(OpenAIError), _reference(ErrorBody)]
    )
    content = {"application/json": {"schema": {"anyOf": body}}}
    statuses = ("403", *(["404"] if parameter else []), "405", "429", "500", "502", "504")
    path = {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "parameters": [path] if parameter else [],
            "responses": {
                "200": {
                    "description": summary,
                    "content": {"application/json": {"schema": _reference(answer)}},
                }
            }
            | {status: {"description": ERRORS[status], "content": content} for status in statuses},
        }
    }


def document() -> JsonObject:
    """The OpenAPI 3.1 description of the contract."""
    requests = (ClassifyRequest, HuggingFaceRequest, ModerationRequest, EmbeddingRequest)
    answers = (
        Result,
        Results,
        Score,
        Classifiers,
        ErrorBody,
        Moderation,
        Embeddings,
        Health,
        ModelInfo,
        Models,
        OpenAIError,
    )
    schemas = _schemas(requests, Taken) | _schemas(answers, Published)
    fields = schemas["ClassifyRequest"]["properties"]
    query = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": _as_text(fields[name]),
            "description": f"For a body that is an image or a form: {fields[name]['description']}",
        }
        | ({"explode": True, "style": "form"} if name in QUERY_LISTS else {})
        for name in QUERY_PARAMETERS
    ]
    shown = examples()
    headers = {name: {"schema": {"type": "string"}} for name in ("Server-Timing", "X-Model")}
    refusals = {
        status: {
            "description": description,
            "content": {"application/json": {"schema": _reference(ErrorBody)}},
        }
        for status, description in ERRORS.items()
    }
    schemas["ErrorBody"]["required"] = ["message"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "clip-classifier-lambda", "version": "1.0.0", "description": DESCRIPTION},
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-binary-media-types.html
        "x-amazon-apigateway-binary-media-types": list(BINARY_TYPES),
        "security": [{}, {"key": []}],
        "paths": {
            "/": {
                "get": {
                    "operationId": "play",
                    "summary": (
                        "A page to try it in a browser; always there locally, on AWS where"
                        " `playground` is set."
                    ),
                    "responses": (
                        {
                            "200": {
                                "description": "HTML.",
                                "content": {"text/html": {"schema": {"type": "string"}}},
                            }
                        }
                        | {
                            status: refusals[status]
                            for status in ("403", "405", "429", "500", "502", "504")
                        }
                    ),
                },
                "post": {
                    "operationId": "classify",
                    "summary": "How likely each label is for an image, or for each of several.",
                    "parameters": query,
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {
                                "schema": {
                                    "anyOf": [
                                        _reference(ClassifyRequest),
                                        _reference(HuggingFaceRequest),
                                    ]
                                },
                                "examples": {
                                    name: {"value": body} for name, (body, _) in shown.items()
                                },
                            },
                        }
                        | {kind: {"schema": {"contentMediaType": kind}} for kind in IMAGE_TYPES}
                        | {MULTIPART_TYPE: _form(fields)},
                    },
                    "responses": (
                        {
                            "200": {
                                "description": (
                                    "By label or category; for `images` one entry an image; in"
                                    " Hugging Face's form best first."
                                ),
                                "headers": headers,
                                "content": {
                                    "application/json": {
                                        "schema": {
                                            "anyOf": [
                                                _reference(Result),
                                                _reference(Results),
                                                {"type": "array", "items": _reference(Score)},
                                            ]
                                        },
                                        "examples": {
                                            name: {"value": answer}
                                            for name, (_, answer) in shown.items()
                                        },
                                    }
                                },
                            }
                        }
                        | refusals
                    ),
                },
            },
            "/classifiers": {
                "get": {
                    "operationId": "classifiers",
                    "summary": (
                        "The deployed classifiers, which a request can name. Asks for the key like"
                        " `POST /`."
                    ),
                    "responses": (
                        {
                            "200": {
                                "description": "In the order of their names.",
                                "headers": headers,
                                "content": {
                                    "application/json": {"schema": _reference(Classifiers)}
                                },
                            }
                        }
                        | {
                            status: refusals[status]
                            for status in ("403", "405", "429", "500", "502", "504")
                        }
                    ),
                }
            },
            "/v1/moderations": _openai(
                "moderate",
                "OpenAI's form: an image's decision, by a classifier's name.",
                ModerationRequest,
                Moderation,
            ),
            "/v1/embeddings": _openai(
                "embed",
                "OpenAI's form: texts and images to vectors.",
                EmbeddingRequest,
                Embeddings,
            ),
            "/v1/models": _get("models", "OpenAI's list of names for `model`.", Models),
            "/v1/models/{id}": _get("model", "One of these names.", ModelInfo, "id"),
            "/health": _get(
                "health",
                "Whether the service answers, and with which model; asks for no key.",
                Health,
            ),
            "/openapi.json": {
                "get": {
                    "operationId": "describe",
                    "summary": "This document.",
                    "responses": (
                        {
                            "200": {
                                "description": "OpenAPI 3.1.",
                                "content": {"application/json": {"schema": {"type": "object"}}},
                            }
                        }
                        | {
                            status: refusals[status]
                            for status in ("403", "405", "429", "500", "502", "504")
                        }
                    ),
                }
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }


def classifier_schema() -> JsonObject:
    """The JSON Schema of a classifier's file."""
    schema = _without_titles(ClassifierFile.model_json_schema(schema_generator=Taken))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


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


def with_answers(text: str, url: str) -> str:
    """The text with, below each command that has an answer, what it prints; $URL is the API at
    `url`.
    """

    def answered(match: re.Match[str]) -> str:
        run = subprocess.run(
            ["bash", "-ec", match[1]],
            env=os.environ | {"URL": url},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return f"```sh\n{match[1]}```\n\n```{match[2]}\n{run.stdout.strip()}\n```\n"

    return COMMAND.sub(answered, text)


def main() -> None:
    DOCUMENT.write_text(
        json.dumps(document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    CLASSIFIER_SCHEMA.write_text(
        json.dumps(classifier_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    with running(load(DEMO)) as url:
        for path in (README, API, CLASSIFIERS):
            path.write_text(
                with_answers(with_tables(path.read_text(encoding="utf-8")), url), encoding="utf-8"
            )


if __name__ == "__main__":
    main()
