"""The handler, which also says how much memory its process holds."""

from pathlib import Path
from typing import Any

from classifier.main import handler as classify


def handler(event: Any, context: Any) -> Any:
    if event == {"memory": True}:
        line = next(
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )
        return {"memory_mb": int(line.split()[1]) / 1024}
    return classify(event, context)
