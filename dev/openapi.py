"""The OpenAPI document of the contract."""

from pydantic import BaseModel

from classifier.api.embeddings import EmbeddingRequest, Embeddings
from classifier.api.hugging_face import HuggingFaceRequest
from classifier.api.models import ModelInfo, Models
from classifier.api.moderations import Moderation, ModerationRequest
from classifier.api.openai import OpenAIError
from classifier.contract.answers import Classifiers, ErrorBody, Health, Result, Results, Score
from classifier.contract.request.media_types import BINARY_TYPES, IMAGE_TYPES, MULTIPART_TYPE
from classifier.contract.request.schema import ClassifyRequest
from classifier.contract.request.url_parameters import QUERY_LISTS, QUERY_PARAMETERS
from classifier.contract.strict_json import JsonObject
from dev.error_texts import ERRORS
from dev.sample_calls import examples
from dev.schemas import Published, Taken, as_text, form, reference, schemas

DESCRIPTION = (
    "Send an image and a few labels in plain words; get back how likely each label is.\n\n"
    "Send the header `x-api-key: …` if the deployment asks for a key. Every answer carries"
    " `Server-Timing` (milliseconds spent on decoding, on the image and on the text), `X-Model`"
    " and `X-Version`. An image may have 50 million pixels; a request, 100 million pixels and 2,000"
    " distinct prompts."
)


HEADERS = {
    name: {"schema": {"type": "string"}} for name in ("Server-Timing", "X-Model", "X-Version")
}
REFUSALS = {
    status: {
        "description": description,
        "content": {"application/json": {"schema": reference(ErrorBody)}},
    }
    for status, description in ERRORS.items()
}


def _page(
    name: str, summary: str, description: str, content: JsonObject, **more: JsonObject
) -> JsonObject:
    statuses = ("403", "405", "429", "500", "502", "504")
    answer = {"description": description, **more, "content": content}
    responses = {"200": answer} | {status: REFUSALS[status] for status in statuses}
    return {"get": {"operationId": name, "summary": summary, "responses": responses}}


def _openai(
    name: str, summary: str, request: type[BaseModel], answer: type[BaseModel]
) -> JsonObject:
    """A path in OpenAI's form; API Gateway's own answers keep theirs."""
    errors = {
        status: {
            "description": description,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [reference(OpenAIError), reference(ErrorBody)]}
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
                "content": {"application/json": {"schema": reference(request)}},
            },
            "responses": (
                {
                    "200": {
                        "description": summary,
                        "content": {"application/json": {"schema": reference(answer)}},
                    }
                }
                | errors
            ),
        }
    }


def _get(name: str, summary: str, answer: type[BaseModel], parameter: str = "") -> JsonObject:
    """A path that is asked without a body. Errors under /v1 have OpenAI's form."""
    body = (
        [reference(ErrorBody)]
        if name == "health"
        else [reference(OpenAIError), reference(ErrorBody)]
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
                    "content": {"application/json": {"schema": reference(answer)}},
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
    components = schemas(requests, Taken) | schemas(answers, Published)
    fields = components["ClassifyRequest"]["properties"]
    query = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": as_text(fields[name]),
            "description": f"For a body that is an image or a form: {fields[name]['description']}",
        }
        | ({"explode": True, "style": "form"} if name in QUERY_LISTS else {})
        for name in QUERY_PARAMETERS
    ]
    shown = examples()
    components["ErrorBody"]["required"] = ["message"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "clip-classifier-lambda", "version": "1.0.0", "description": DESCRIPTION},
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-binary-media-types.html
        "x-amazon-apigateway-binary-media-types": list(BINARY_TYPES),
        "security": [{}, {"key": []}],
        "paths": {
            "/": {
                **_page(
                    "play",
                    "A page to try it in a browser; always there locally, on AWS if `playground`"
                    " is set.",
                    "HTML.",
                    {"text/html": {"schema": {"type": "string"}}},
                ),
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
                                        reference(ClassifyRequest),
                                        reference(HuggingFaceRequest),
                                    ]
                                },
                                "examples": {
                                    name: {"value": body} for name, (body, _) in shown.items()
                                },
                            },
                        }
                        | {kind: {"schema": {"contentMediaType": kind}} for kind in IMAGE_TYPES}
                        | {MULTIPART_TYPE: form(fields)},
                    },
                    "responses": (
                        {
                            "200": {
                                "description": (
                                    "By label or category; for `images` one entry an image; in"
                                    " Hugging Face's form best first."
                                ),
                                "headers": HEADERS,
                                "content": {
                                    "application/json": {
                                        "schema": {
                                            "anyOf": [
                                                reference(Result),
                                                reference(Results),
                                                {"type": "array", "items": reference(Score)},
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
                        | REFUSALS
                    ),
                },
            },
            "/classifiers": _page(
                "classifiers",
                "The deployed classifiers, which a request can name. Asks for the key like `POST"
                " /`.",
                "In the order of their names.",
                {"application/json": {"schema": reference(Classifiers)}},
                headers=HEADERS,
            ),
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
            "/openapi.json": _page(
                "describe",
                "This document.",
                "OpenAPI 3.1.",
                {"application/json": {"schema": {"type": "object"}}},
            ),
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }
