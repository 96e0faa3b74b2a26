"""The benchmark's figures as one SVG: latency by number of labels, where the milliseconds go,
start-up.
"""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH = 760
ROW = 26
LEFT = 300
RIGHT = 90
COLOURS = ("#c44e52", "#e0a899", "#4c72b0", "#8fb0d9")


def draw(figures: Mapping[str, float | str]) -> str:
    """An SVG document."""

    def value(name: str) -> float:
        return float(figures[name])

    latency = [
        (f"{who}, {n} label{'s' if n > 1 else ''}", value(f"{key}_{n}_labels_ms"), colour)
        for n in (1, 5, 9)
        for who, key, colour in (
            ("original", "original", 0),
            ("original, towers run once", "original_without_duplicate", 1),
            ("this project, labels never seen", "new", 2),
            ("this project, labels seen before", "cached", 3),
        )
    ]
    image = value("image_holding_ms")
    outside = value("outside_encoders_ms")
    parts = [
        (f"image encoder, {figures['image_precision']}", image, 2),
        (
            f"text encoder, {figures['text_precision']}, 9 labels never seen",
            max(0.0, value("new_9_labels_ms") - value("cached_9_labels_ms")),
            2,
        ),
        ("all outside the encoders", outside, 2),
    ]
    starts = [
        ("original", value("original_start_to_first_answer_s"), 0),
        ("this project", value("start_to_first_answer_s"), 2),
    ]
    bars = []
    top = 30
    for title, rows, unit in (
        ("Event to answer, 440 x 248 JPEG", latency, "ms"),
        ("Where the milliseconds go", parts, "ms"),
        ("Process start to first answer", starts, "s"),
    ):
        bars.append(f'<text x="10" y="{top}" font-weight="bold">{title}, median</text>')
        bars += _bars(rows, unit, top + 12)
        top += 12 + ROW * len(rows) + 40
    bars.append(f'<text x="10" y="{top - 10}" fill="#555">{escape(str(figures["machine"]))}</text>')
    return document(bars, top)


def document(parts: Sequence[str], height: int) -> str:
    """The SVG document of these elements, WIDTH wide."""
    style = 'font-family="sans-serif" font-size="13"'
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    lines = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n<rect width="100%" height="100%"'
        f' fill="#fff"/>\n{lines}\n</svg>\n'
    )


def _bars(rows: Sequence[tuple[str, float, int]], unit: str, top: int) -> list[str]:
    longest = max(value for _, value, _ in rows) or 1.0
    found = []
    for i, (label, value, colour) in enumerate(rows):
        y = top + ROW * i
        length = (WIDTH - LEFT - RIGHT) * value / longest
        said = f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
        found.append(f'<text x="{LEFT - 8}" y="{y + 17}" text-anchor="end">{escape(label)}</text>')
        found.append(
            f'<rect x="{LEFT}" y="{y + 4}" width="{length:.1f}" height="{ROW - 8}"'
            f' fill="{COLOURS[colour]}"/>'
        )
        found.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 17}">{said} {unit}</text>')
    return found
