"""OpenAI's list of models, which many tools ask for first: the bundle's and the classifiers.

https://platform.openai.com/docs/api-reference/models
"""

from typing import Literal
from urllib.parse import unquote

from classifier.api.openai import OpenAI
from classifier.contract.errors import ApiError
from classifier.contract.request.fields import ApiModel
from classifier.contract.request.unknown import unknown_name
from classifier.contract.strict_json import JsonObject
from classifier.engine.registry import Registry


class ModelInfo(ApiModel):
    """A name for `model` in a request: the bundle's for embeddings, a classifier's for moderations.
    `created` is always 0: no bundle and no classifier says when it was made.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["bundle", "classifiers"]


class Models(ApiModel):
    object: Literal["list"]
    data: list[ModelInfo]


class OpenAIModels(OpenAI):
    def __init__(self, bundle: str, registry: Registry) -> None:
        owners = dict.fromkeys(registry.names, "classifiers") | {bundle: "bundle"}
        self._by_id = {name: _info(name, owners[name]) for name in (bundle, *registry.names)}

    def list(self) -> JsonObject:
        return {"object": "list", "data": [*self._by_id.values()]}

    def find(self, path: str) -> JsonObject:
        """The model of the path `/v1/models/{id}`, whose id may be encoded. Raises ApiError."""
        name = unquote(path.split("/", 3)[3])
        if name not in self._by_id:
            message = f"The path has {unknown_name(name, list(self._by_id), 'model')}"
            raise ApiError(404, "not_found", message, "model")
        return self._by_id[name]


def _info(name: str, owner: str) -> JsonObject:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
