"""The one error that is the caller's."""

import json


class ClientError(Exception):
    """A request that can't be answered as it is; `message` says what was wrong and what would be right.

    `code` is one of the HTTP contract's; `field` is the path of the offending field, such as `labels.3`, where there is one.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field

    def body(self) -> dict[str, str]:
        """What the answer carries."""
        return {"message": self.message, "code": self.code} | ({"field": self.field} if self.field else {})


def shown(text: str) -> str:
    """A text of the caller's in quotes, cut to what a message can hold."""
    return json.dumps(text if len(text) <= 60 else text[:57] + "…", ensure_ascii=False)
