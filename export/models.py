"""Prints which of open_clip's weights can be exported: python export/models.py [part of a name].

It needs the standard library alone.
"""

import json
import sys
from collections import Counter
from pathlib import Path

TABLE = Path(__file__).with_name("models.json")


def rows(part: str = "") -> list[tuple[str, str, str]]:
    """Model, tag, and the way that its export goes or why it is refused; of those that have `part`
    in one of the three.
    """
    pairs = json.loads(TABLE.read_text())["pairs"]
    return [
        (model, tag, way)
        for model, tags in pairs.items()
        for tag, way in tags.items()
        if part.lower() in f"{model} {tag} {way}".lower()
    ]


def main() -> None:
    part = " ".join(sys.argv[1:])
    found = rows(part)
    if not found:
        sys.exit(f"error: no model, tag or reason has {part!r}; `make models` shows all.")
    models, tags = (max(map(len, column)) for column in list(zip(*found, strict=True))[:2])
    for model, tag, way in found:
        print(f"{model:{models}}  {tag:{tags}}  {way}")
    ways = Counter(way.partition(":")[0] for *_, way in found)
    counts = ", ".join(f"{count} {way}" for way, count in ways.most_common())
    print(f"{len({model for model, *_ in found})} models, {len(found)} with their tags: {counts}")


if __name__ == "__main__":
    main()
