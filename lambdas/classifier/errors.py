"""The one error that is the caller's."""


class ClientError(Exception):
    """A request that can't be answered as it is; `message` says what was wrong and what would be right.

    `code` is one of the HTTP contract's; `field` is the path of the offending field, such as `labels.3`, where there is one.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field
