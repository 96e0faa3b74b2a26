"""JSON objects without NaN, Infinity or a key twice, which Python's JSON reader would accept."""

from collections import Counter
from typing import Any, NoReturn

from classifier.contract.errors import ApiError, quoted

JsonObject = dict[str, Any]


def no_constant(name: str) -> NoReturn:
    """Raises ApiError for NaN and Infinity, which json would accept."""
    raise ApiError(400, "invalid_json", f"{name} is not JSON; send a number.")


def no_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    value: JsonObject = dict(pairs)
    if len(value) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        message = f"The key {quoted(key)} appears twice in one object; send it once."
        raise ApiError(400, "invalid_json", message)
    return value
