"""Responses: JSON, errors, files of the package, and the page."""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from classifier.api.dialects import WritesErrors
from classifier.api.events import Request, Response
from classifier.contract.bundle import BundleManifest
from classifier.contract.errors import ApiError
from classifier.contract.routes import PREFLIGHT_HEADERS, methods
from classifier.engine.context import RequestContext

RETRY_AFTER_S = 1
logger = logging.getLogger(__name__)


def error_response(err: Exception, context: RequestContext, dialect: WritesErrors) -> Response:
    """The response to an error; an internal one is logged with its traceback and not shown."""
    if not isinstance(err, ApiError):
        logger.error("internal error", exc_info=err)
        err = ApiError(500, "internal_error", "Internal error, not caused by your request.")
    context.log["code"] = err.code
    response = json_response(err.status, dialect.error(err))
    if err.status == 503:
        response["headers"]["Retry-After"] = str(RETRY_AFTER_S)
    return response


def cors(origins: Sequence[str], origin: str) -> dict[str, str]:
    """Lets pages of these origins read an answer. A browser takes one origin or all of them, so of
    several the caller's is named.
    """
    named = origin if origin in origins else origins[0]
    vary = {"Vary": "Origin"} if len(origins) > 1 else {}
    return {"Access-Control-Allow-Origin": named, **vary}


def preflight(path: str) -> Response:
    """The answer to a preflight. On AWS, API Gateway gives the same one."""
    others = sorted(set(methods(path)) - {"OPTIONS"})
    headers = {
        "Access-Control-Allow-Methods": ", ".join([*others, "OPTIONS"]),
        "Access-Control-Allow-Headers": ", ".join(PREFLIGHT_HEADERS),
    }
    return {"statusCode": 204, "headers": headers, "body": "", "isBase64Encoded": False}


def document(classifiers: Sequence[str]) -> Response:
    """The OpenAPI document, with the names of the classifiers that are there."""
    response = _file("openapi.json", "application/json")
    if classifiers:
        document = json.loads(response["body"])
        operation = document["paths"]["/"]["post"]
        fields = document["components"]["schemas"]["ClassifyRequest"]["properties"]
        fields["classifier"]["enum"] = classifiers
        query = next(one for one in operation["parameters"] if one["name"] == "classifier")
        query["schema"]["enum"] = classifiers
        response["body"] = json.dumps(document, ensure_ascii=False)
    return response


def json_response(status: int, body: object) -> Response:
    # A message may quote half of a surrogate pair, which no encoding of the response can hold.
    return _response(
        status,
        "application/json",
        json.dumps(body, ensure_ascii=False).encode("utf-8", "replace").decode(),
    )


def health(manifest: BundleManifest, version: str) -> Response:
    """Says that the function answers, and with which model. A stored answer would prove nothing."""
    known = {"model": manifest.name, "version": version, "languages": manifest.languages}
    response = json_response(200, {"status": "ok", **known})
    response["headers"]["Cache-Control"] = "no-store"
    return response


def _file(name: str, content_type: str) -> Response:
    return _response(200, content_type, Path(__file__).with_name(name).read_text(encoding="utf-8"))


def page(request: Request, manifest: BundleManifest) -> Response:
    """The playground, which is told about the model, with a security policy that lets exactly its
    own script and style run and reach this address alone. Raises ApiError for an image that should
    have been posted.
    """
    if request.body:
        message = (
            "GET returns the page and reads no body; to classify an image, send it with POST: curl"
            ' -X POST --data-binary @photo.jpg -H "Content-Type: image/jpeg"'
            ' "URL?labels=a+cat&labels=a+dog".'
        )
        raise ApiError(400, "invalid_request", message)
    # Only the page needs it, and no start.
    from html import escape

    response = _file("playground.html", "text/html; charset=utf-8")
    fields = ("name", "scoring", "languages")
    model = json.dumps({field: getattr(manifest, field) for field in fields})
    response["body"] = response["body"].replace(
        '<meta name="model" content="">', f'<meta name="model" content="{escape(model)}">'
    )
    hashes = {
        name: base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        for name, block in re.findall(r"<(script|style)[^>]*>(.*?)</\1>", response["body"], re.S)
    }
    response["headers"]["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src"
        f" 'sha256-{hashes['style']}'; img-src data: blob:; connect-src 'self' data:; form-action"
        " 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    return response


def _response(status: int, content_type: str, body: str) -> Response:
    return {
        "statusCode": status,
        "headers": {"Content-Type": content_type},
        "body": body,
        "isBase64Encoded": False,
    }
