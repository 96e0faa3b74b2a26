"""Lines of results: one JSON object for each item."""

import json

from classifier.contract.errors import ApiError
from classifier.contract.strict_json import JsonObject
from classifier.storage.items import Item


def error_answer(err: ApiError) -> JsonObject:
    return {"error": err.body()}


def make_line(item: Item, model: str, answer: JsonObject) -> JsonObject:
    """`model` is the model's name in every line; the model's details go by another name."""
    version = {"version_id": item.version} if item.version else {}
    if "error" in answer:
        # Without its field, which is the place in a request that the caller never saw.
        answer = {
            "error": {name: text for name, text in answer["error"].items() if name != "field"}
        }
    answer = {"model_details" if name == "model" else name: value for name, value in answer.items()}
    return {
        "key": item.key,
        "etag": item.etag,
        "size": item.size,
        **version,
        "model": model,
        **answer,
    }


def dumps(line: JsonObject) -> str:
    """One line of JSON Lines, its end included. A key or a message may hold half of a surrogate
    pair, which UTF-8 can't; JSON's escape of it leads back to it.
    """
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace").decode() + "\n"


def tags_of(answer: JsonObject) -> dict[str, str]:
    """The best label and its probability, if there is one; and the decision's action, or without
    actions the best name that counts, or `none`.
    """
    result: dict[str, float] = answer.get("result") or {}
    tags = {}
    if "decision" in answer:
        counted = answer["decision"]["labels"]
        tags["clip-decision"] = answer["decision"]["action"] or (
            counted[0]["name"] if counted else "none"
        )
    if result:
        label = max(result, key=result.__getitem__)
        # A model's own sigmoid may give a right label 0.00002, which four decimals would make 0.
        digits = ".4f" if result[label] >= 0.01 else ".3g"
        tags |= {"clip-label": label, "clip-probability": f"{result[label]:{digits}}"}
    return tags
