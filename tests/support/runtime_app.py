"""A handler for the runtime's own tests: sleeps or fails when told."""

import time
from typing import Any


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    if event.get("sleep"):
        time.sleep(event["sleep"])
    if event.get("fail"):
        raise RuntimeError("told to fail")
    return {"left": context.get_remaining_time_in_millis()}
