"""OpenAI's dialect: the form of its errors, and of images in its requests.

https://platform.openai.com/docs/guides/error-codes
"""

import re
from typing import Literal

from pydantic_core import PydanticCustomError

from classifier.api.body import HINT, Body
from classifier.contract.base64 import NOT_BASE64, from_base64
from classifier.contract.errors import ApiError
from classifier.contract.request.fields import ApiModel
from classifier.contract.strict_json import JsonObject

IMAGE_URI = re.compile(r"\s*data:[^,]*;\s*base64\s*,", re.IGNORECASE)
URI: JsonObject = {"type": "string", "format": "data uri"}


def decode_image_uri(uri: str) -> bytes:
    try:
        return from_base64(uri)
    except ValueError as err:
        raise PydanticCustomError("custom", NOT_BASE64) from err


class OpenAIProblem(ApiModel):
    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class OpenAIError(ApiModel):
    """The answer of `/v1` routes to an error."""

    error: OpenAIProblem


class OpenAI:
    def error(self, err: ApiError) -> JsonObject:
        kind = "invalid_request_error" if err.status < 500 else "server_error"
        return {
            "error": {"message": err.message, "type": kind, "param": err.field, "code": err.code}
        }

    @staticmethod
    def object_of(body: Body) -> JsonObject:
        """Raises ApiError for an image or a form as the body."""
        if not isinstance(body, dict):
            raise ApiError(415, "unsupported_media_type", f"This address takes JSON alone; {HINT}.")
        return body


OPENAI = OpenAI()
