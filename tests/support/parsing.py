"""Bodies as the handler reads them, and their refusals."""

import base64
import json
from typing import Any

import pytest

from classifier.api.body import read_json
from classifier.api.dialects import dialect_of_body
from classifier.contract.errors import ApiError
from classifier.contract.request.query import Query

IMAGE = bytes(range(256)) + b"\xfb\xff"
GOOD = {"image_data": base64.b64encode(IMAGE).decode(), "labels": ["a dog", "a cat"]}


def read(body: str | bytes) -> Query:
    return parse(read_json(body))


def parse(value: dict[str, Any]) -> Query:
    return dialect_of_body(value).read(value, {})


def refusal(body: str | bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body)
    return caught.value


def changed(**fields: Any) -> str:
    return json.dumps(GOOD | fields)


def categories(value: Any, **fields: Any) -> str:
    return json.dumps({"image_data": GOOD["image_data"], "categories": value} | fields)


def hugging_face(**parameters: Any) -> str:
    return json.dumps({"inputs": GOOD["image_data"], "parameters": parameters})
