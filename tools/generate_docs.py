"""Writes lambdas/classifier/openapi.json and the README's table of fields from the models, and the answers below the README's
commands from the demo model: `make document`."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from classifier.schema import (
    BINARY_TYPES,
    IMAGE_TYPES,
    QUERY_LISTS,
    QUERY_PARAMETERS,
    ClassifyRequest,
    ErrorBody,
    HuggingFaceRequest,
    JsonObject,
    Result,
    Results,
    Score,
)
from tools.local.gateway import Context
from tools.local.serve import load, running

DOCUMENT = Path("lambdas/classifier/openapi.json")
README = Path("README.md")
DEMO = Path("models/demo")
# A command, and the answer below it.
ASKED = re.compile(r"```sh\n((?:(?!```).)*?)```\n\n```(json|text)\n.*?\n```\n", re.S)
STARS = Path("examples/images/stars-small.png")
LABELS = ["a star", "a circle"]
DESCRIPTION = """Send a picture and a few labels in plain words; get back how likely each label is.

A request may say `x-api-key: …` where the deployment asks for a key. Every answer carries `Server-Timing` (milliseconds to decode, for
the image, for the text) and `X-Model`. At most 50 million pixels an image, 100 million and 2,000 distinct prompts a request."""
# Status, code where it is ours, when.
ERRORS = {
    "400": "`invalid_json`, `invalid_request`, `invalid_image`, `too_many_prompts`, `label_too_long` or `answer_too_large`: not JSON; a "
    "missing, unknown, mistyped, out-of-range or contradictory field; an image that can't be decoded; over a count.",
    "403": "`forbidden`: no API key or a wrong one. API Gateway's own answer.",
    "404": "`not_found`: there is nothing at this path.",
    "405": "`not_found`: another method; `Allow` says which are taken.",
    "413": "`too_large`: too many pixels; and, in the gateway's own words, a body over about 6 MB.",
    "415": "`unsupported_media_type`: neither JSON nor an image of a known format.",
    "429": "`too_many_requests`: over the throttle. API Gateway's own answer.",
    "500": "`internal_error`: ours; the log has the rest. `unavailable`: API Gateway's own, no environment was free.",
    "502": "`unavailable`: the function failed to start. API Gateway's own answer.",
    "503": "`out_of_time`: time ran out; `Retry-After` says when to come again, labels done so far are kept. `unavailable`: API "
    "Gateway's own.",
    "504": "`out_of_time`: the gateway's patience ended. API Gateway's own answer.",
}


class Published(GenerateJsonSchema):
    """What may be left out is not null: a default of None is no part of the contract."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonObject:
        inner = schema["schema"]
        if schema.get("default", ...) is None and inner["type"] == "nullable":
            return self.generate_inner(inner["schema"])
        return super().default_schema(schema)


def _without_titles(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_titles(v) for k, v in value.items() if not (k == "title" and isinstance(v, str))}
    return [_without_titles(one) for one in value] if isinstance(value, list) else value


def _reference(model: type[BaseModel]) -> JsonObject:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def examples() -> dict[str, tuple[JsonObject, JsonObject | list[JsonObject]]]:
    """Requests and what the demo model answers, probabilities to four digits."""
    handler = load(DEMO)
    image = base64.b64encode(STARS.read_bytes()).decode()
    asked: dict[str, JsonObject] = {
        "labels": {"image_data": image, "labels": LABELS},
        "multi_label": {"image_data": image, "labels": LABELS, "multi_label": True, "details": True},
        "categories": {"image_data": image, "categories": {"shapes": LABELS, "animals": ["a dog", "a cat"]}, "combine": "max"},
        "images": {"images": [image, "AAAA"], "labels": LABELS, "templates": ["{}", "a picture of {}"], "top_k": 1},
        "hugging_face": {"inputs": image, "parameters": {"candidate_labels": LABELS}},
    }
    found = {}
    for name, body in asked.items():
        event = {"httpMethod": "POST", "resource": "/", "body": json.dumps(body)}
        answer = handler(event, Context(time.monotonic() + 60, name))
        assert answer["statusCode"] == 200, answer
        found[name] = body, json.loads(answer["body"], parse_float=lambda text: round(float(text), 4))
    return found


def document() -> JsonObject:
    """The OpenAPI 3.1 description of the contract."""
    models = (ClassifyRequest, HuggingFaceRequest, Result, Results, Score, ErrorBody)
    schemas = _without_titles(
        models_json_schema(
            [(model, "validation") for model in models], schema_generator=Published, ref_template="#/components/schemas/{model}"
        )[1]["$defs"]
    )
    fields = schemas["ClassifyRequest"]["properties"]
    query = [
        {
            "name": name, "in": "query", "required": False, "schema": {k: v for k, v in fields[name].items() if k != "description"},
            "description": f"For a body that is an image: {fields[name]['description']}",
        } | ({"explode": True, "style": "form"} if name in QUERY_LISTS else {})
        for name in QUERY_PARAMETERS
    ]  # fmt: skip
    shown = examples()
    headers = {name: {"schema": {"type": "string"}} for name in ("Server-Timing", "X-Model")}
    refusals = {
        status: {"description": said, "content": {"application/json": {"schema": _reference(ErrorBody)}}}
        for status, said in ERRORS.items()
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
                    "summary": "A page to try it in a browser; always there locally, on AWS where `playground` is set.",
                    "responses": {"200": {"description": "HTML.", "content": {"text/html": {"schema": {"type": "string"}}}}}
                    | {status: refusals[status] for status in ("403", "405", "429", "500", "502", "504")},
                },
                "post": {
                    "operationId": "classify",
                    "summary": "How likely each label is for a picture, or for each of several.",
                    "parameters": query,
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {
                                "schema": {"anyOf": [_reference(ClassifyRequest), _reference(HuggingFaceRequest)]},
                                "examples": {name: {"value": body} for name, (body, _) in shown.items()},
                            },
                        }
                        | {kind: {"schema": {"contentMediaType": kind}} for kind in IMAGE_TYPES},
                    },
                    "responses": {
                        "200": {
                            "description": "By label or category; for `images` one entry an image; in Hugging Face's form best first.",
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
                                    "examples": {name: {"value": answer} for name, (_, answer) in shown.items()},
                                }
                            },
                        }
                    }
                    | refusals,
                },
            },
            "/openapi.json": {
                "get": {
                    "operationId": "describe",
                    "summary": "This document.",
                    "responses": {
                        "200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}
                    }
                    | {status: refusals[status] for status in ("403", "405", "429", "500", "502", "504")},
                }
            },
        },
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}}},
    }


def table() -> str:
    """The README's table of the fields of a request."""
    rows = ["| field | meaning | default |", "|---|---|---|"]
    for name, field in ClassifyRequest.model_fields.items():
        default = "" if field.default is None else f"`{json.dumps(field.default)}`"
        rows.append(f"| `{name}` | {field.description} | {default} |")
    return "\n".join(rows)


def with_table(readme: str) -> str:
    """The README's text with the table put between its marks."""
    marks = r"(<!-- fields -->\n).*?(<!-- /fields -->)"
    return re.sub(marks, lambda found: f"{found[1]}{table()}\n{found[2]}", readme, flags=re.S)


def answers(readme: str, url: str) -> list[str]:
    """What each command of the README that is followed by an answer prints, with $URL the API there."""
    environment = os.environ | {"URL": url, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    commands = [found[1] for found in ASKED.finditer(readme)]
    runs = [subprocess.run(["bash", "-ec", one], env=environment, capture_output=True, text=True, check=True) for one in commands]
    return [run.stdout.strip() for run in runs]


def main() -> None:
    DOCUMENT.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    readme = with_table(README.read_text(encoding="utf-8"))
    with running(load(DEMO)) as url:
        printed = iter(answers(readme, url))
    readme = ASKED.sub(lambda found: f"```sh\n{found[1]}```\n\n```{found[2]}\n{next(printed)}\n```\n", readme)
    README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
