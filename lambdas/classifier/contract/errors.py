"""The one exception for the caller's errors."""

import json

MAX_QUOTED_CHARACTERS = 60


class ApiError(Exception):
    """A request that can't be answered; `message` says what was wrong and what would be right.

    `code` is one of the API's error codes; `field` is the path of the offending field, such as
    `labels.3`, if there is one.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field

    def at(self, field: str | None) -> "ApiError":
        """The same error about this field."""
        return ApiError(self.status, self.code, self.message, field)

    def body(self) -> dict[str, str]:
        """The error as the response carries it."""
        return {"message": self.message, "code": self.code} | (
            {"field": self.field} if self.field else {}
        )


def shortened(text: str) -> str:
    """The caller's text, cut to the length that a message or a path may have."""
    return text if len(text) <= MAX_QUOTED_CHARACTERS else text[: MAX_QUOTED_CHARACTERS - 3] + "…"


def quoted(text: str) -> str:
    """The same in quotation marks."""
    return json.dumps(shortened(text), ensure_ascii=False)
