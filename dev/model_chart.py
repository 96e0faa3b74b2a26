"""Accuracy over time and over price of all models whose accuracy is published: docs/models.svg."""

from dataclasses import replace
from typing import TYPE_CHECKING

from dev.model_choice import best, default_of
from export.table.rows import rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = {
    "image": "time of an image in 8 bits, the default's is 1",
    "dollars": "dollars a million images, one a call",
}
# Percent: models that are less right aren't drawn.
LEAST = 50
# By whether a business may use the weights.
COLOURS = {
    True: ("#4c72b0", "for a business"),
    False: ("#c44e52", "not for a business"),
    None: ("#999999", "licence not looked up"),
}


def model_chart() -> "Figure":
    """Hollow points are computed instead of measured. Named: the default, and each model for a
    business of which no other is as right for as little time.
    """
    from matplotlib.figure import Figure

    every = [row for row in rows() if row.image and (row.imagenet or 0) >= LEAST]
    # Labels' time aside, so that the names are those along the upper edge.
    named = [default_of(every), *best([replace(row, label=None) for row in every])]
    figure = Figure(figsize=(9, 10), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(2, sharey=True), AXES.items(), strict=True):
        for business, (colour, legend) in COLOURS.items():
            group = [row for row in every if row.business is business]
            # Measured ones first: the legend looks as the first point does.
            group.sort(key=lambda row: name in row.computed)
            axes.scatter(
                [getattr(row, name) for row in group],
                [row.imagenet for row in group],
                s=16,
                edgecolors=colour,
                facecolors=["none" if name in row.computed else colour for row in group],
                label=legend,
            )
        for row in named:
            axes.annotate(
                row.model,
                (getattr(row, name), row.imagenet),
                xytext=(1, 4),
                textcoords="offset points",
                rotation=65,
                rotation_mode="anchor",
                fontsize=7,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(LEAST, 100)
        axes.set_xlabel(title)
        axes.set_ylabel("ImageNet, zero-shot, %")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(loc="lower right", frameon=False)
    return figure
