"""The benchmarks' figures as charts. matplotlib is imported by whoever draws: a process that
measures must not hold it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORIGINAL, ONCE, NEW, CACHED = "#c44e52", "#e0a899", "#4c72b0", "#8fb0d9"
COLOURS = ("#8fb0d9", "#4c72b0", "#7fa37f", "#c9b458", "#c44e52", "#6a5d9c", "#a08bbf")
# Of the first line the handler's own thread does each step; the other two load meanwhile.
STEPS = (
    (
        "Python and Lambda's client",
        "numpy and ONNX Runtime",
        "the other imports",
        "checks, classifiers, waiting",
        "the first answer",
    ),
    ("image encoder",),
    ("text encoder",),
)
Bar = tuple[str, float, str]


def comparison(figures: Mapping[str, float | str]) -> "Figure":
    """Latency by number of labels, where the milliseconds go, and the start."""

    def value(name: str) -> float:
        return float(figures[name])

    latency: list[Bar] = [
        (f"{who}, {n} label{'s' if n > 1 else ''}", value(f"{key}_{n}_labels_ms"), colour)
        for n in (1, 5, 9)
        for who, key, colour in (
            ("original", "original", ORIGINAL),
            ("original, towers run once", "original_without_duplicate", ONCE),
            ("this project, labels never seen", "new", NEW),
            ("this project, labels seen before", "cached", CACHED),
        )
    ]
    texts = max(0.0, value("new_9_labels_ms") - value("cached_9_labels_ms"))
    parts: list[Bar] = [
        (f"image encoder, {figures['image_precision']}", value("image_holding_ms"), NEW),
        (f"text encoder, {figures['text_precision']}, 9 labels never seen", texts, NEW),
        ("all outside the encoders", value("outside_encoders_ms"), NEW),
    ]
    starts: list[Bar] = [
        ("original", value("original_start_to_first_answer_s"), ORIGINAL),
        ("this project", value("start_to_first_answer_s"), NEW),
    ]
    return _bars(
        (
            ("Event to answer, 440 x 248 JPEG, median", "ms", latency),
            ("Where the milliseconds go, median", "ms", parts),
            ("Process start to first answer, median", "s", starts),
        ),
        str(figures["machine"]),
    )


def _bars(sections: Sequence[tuple[str, str, Sequence[Bar]]], title: str) -> "Figure":
    figure = _figure(8)
    heights = [len(bars) for _, _, bars in sections]
    for axes, (heading, unit, bars) in zip(
        figure.subplots(len(sections), height_ratios=heights), sections, strict=True
    ):
        labels, values, colours = zip(*bars, strict=True)
        drawn = axes.barh(range(len(bars)), values, color=colours, tick_label=labels)
        axes.bar_label(drawn, [f"{value:.3g} {unit}" for value in values], padding=3)
        axes.set_title(heading, loc="left", fontweight="bold")
        axes.set_xlim(0, 1.15 * max(values))
        axes.invert_yaxis()
        axes.xaxis.set_visible(False)
        axes.spines[:].set_visible(False)
    figure.supxlabel(title, fontsize="small")
    return figure


def start(runs: Mapping[str, Mapping[str, Any]], title: str) -> "Figure":
    """A bar for each step of a start; `runs` by state, with `spans` in seconds, `seconds` and
    `read_mb`.
    """
    figure = _figure(2.5 * len(runs) + 1)
    longest = max(run["seconds"] for run in runs.values())
    for axes, (state, run) in zip(
        figure.subplots(len(runs), sharex=True, squeeze=False)[:, 0], runs.items(), strict=True
    ):
        colours = iter(COLOURS)
        for row, names in enumerate(STEPS):
            for name in names:
                first, last = run["spans"][name]
                bar = axes.barh(row, last - first, left=first, color=next(colours), label=name)
                axes.bar_label(
                    bar, [f"{1000 * (last - first):.0f}"], label_type="center", color="white"
                )
        axes.set_title(
            f"{state}: {run['seconds']:.2f} s, {run['read_mb']:.0f} MB read",
            loc="left",
            fontweight="bold",
        )
        axes.set_xlim(0, longest)
        axes.invert_yaxis()
        axes.yaxis.set_visible(False)
        axes.spines[:].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title=f"Milliseconds in the bars; {title}",
    )
    return figure


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(9, height), layout="constrained")


def save(figure: "Figure", path: Path) -> None:
    import matplotlib

    path.parent.mkdir(exist_ok=True)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "benchmark"}):
        figure.savefig(path, metadata={"Date": None})
