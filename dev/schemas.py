"""JSON Schemas of requests, answers and a classifier's file, from their models."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from classifier.api.form import ONE_FILE, SEVERAL_FILES
from classifier.contract.classifiers.file import ClassifierFile
from classifier.contract.limits import MAX_IMAGES
from classifier.contract.request.media_types import IMAGE_TYPES
from classifier.contract.request.schema import ABSENT
from classifier.contract.request.url_parameters import QUERY_PARAMETERS
from classifier.contract.strict_json import JsonObject


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


def schemas(models: Sequence[type[BaseModel]], generator: type[Published]) -> JsonObject:
    found: JsonObject = _without_titles(
        models_json_schema(
            [(model, "validation") for model in models],
            schema_generator=generator,
            ref_template="#/components/schemas/{model}",
        )[1]["$defs"]
    )
    return found


def as_text(field: JsonObject) -> JsonObject:
    """A field's schema in a query or a form, which can't hold null."""
    kept = {k: v for k, v in field.items() if k not in ("anyOf", "description")}
    return {**field["anyOf"][0], **kept}


def form(fields: JsonObject) -> JsonObject:
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
        name: as_text(fields[name]) | {"description": fields[name]["description"]}
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


def reference(model: type[BaseModel]) -> JsonObject:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def classifier_schema() -> JsonObject:
    """The JSON Schema of a classifier's file."""
    schema = _without_titles(ClassifierFile.model_json_schema(schema_generator=Taken))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
