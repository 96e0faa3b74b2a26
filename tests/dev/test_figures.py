"""Figures that stand in several guides are the same in all of them."""

import re

import pytest

from tests.support.requests import ROOT

# What lies between two figures of a guide, across lines.
REST = r"(?s:.*?)"
# Name, then for each place: a guide, and a pattern whose groups are the figures.
FIGURES: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "milliseconds of an answer with nine known labels",
        [
            ("README.md", r"nine known labels \| (\d+) ms"),
            ("docs/performance.md", r"9 labels seen before \| \d+ ms \| ([\d.]+) ms"),
            ("docs/performance.md", r"one image a call, ([\d.]+) ms each, as measured"),
        ],
    ),
    (
        "how many times as fast as the original",
        [
            ("README.md", r"(\d+) times as fast as the \[original"),
            ("docs/performance.md", r"9 labels seen before \| .* \| (\d+) times faster"),
        ],
    ),
    (
        "the same in fp32, on both processors",
        [
            ("README.md", r"(\d+) to (\d+) times"),
            ("docs/performance.md", rf"in `fp32` .* (\d+) times faster \|{REST}ms \((\d+) times"),
        ],
    ),
    (
        "32 images in one call, compared with 32 calls",
        [
            ("docs/performance.md", r"32 images in one call.* ([\d.]+) times 32 calls"),
            ("docs/performance.md", r"32 images a call, ([\d.]+) times"),
        ],
    ),
    (
        "seconds of a start",
        [
            ("README.md", r"first answer \| ([\d.]+) s; in `int8` ([\d.]+) s"),
            (
                "docs/performance.md",
                rf"runtime client \| 4.2 s \| ([\d.]+) s{REST}first answer ([\d.]+) s warm",
            ),
        ],
    ),
    (
        "seconds of a cold start",
        [
            ("README.md", r"with cold files ([\d.]+) s"),
            ("docs/performance.md", r"s warm and ([\d.]+) s cold"),
        ],
    ),
    (
        "milliseconds of an image in every estimate",
        [
            ("README.md", r"at (\d+) ms an image"),
            ("docs/faq.md", r"At (\d+) ms an answer"),
            ("docs/performance.md", r"one image a call, (\d+) ms each, a guess"),
            ("docs/bulk.md", r"(\d+) ms an image on one vCPU"),
        ],
    ),
    (
        "share of a thumbnail's width that the centre square leaves out",
        [
            ("README.md", r"loses (\d+) % of its width"),
            ("docs/api.md", r"loses (\d+) % of its width"),
        ],
    ),
    (
        "megabytes of the default's weights",
        [
            ("README.md", r"(\d+) MB of weights"),
            ("docs/models.md", r"(\d+) MB of weights"),
            ("docs/models.md", r"\(the default\) .* (\d+) MB"),
            ("docs/deploy.md", r"download of (\d+) MB"),
        ],
    ),
    (
        "megabytes of packages of make demo",
        [
            ("README.md", r"weights; (\d+) MB of packages"),
            ("Makefile", r"into \$\(VENV\), (\d+) MB"),
        ],
    ),
    (
        "megabytes of packages of make model",
        [
            ("README.md", r"and (\d+) MB of packages"),
            ("docs/models.md", r"(\d+) MB of packages"),
        ],
    ),
    (
        "accuracy of the default and of the advice on ImageNet",
        [
            ("README.md", r"training on it, is ([\d.]+) % and ([\d.]+) %"),
            (
                "docs/models.md",
                rf"\(the default\) \| ([\d.]+) %{REST}`datacomp_s34b_b86k` \| ([\d.]+) %",
            ),
        ],
    ),
    (
        "dollars of a million calls of API Gateway",
        [
            ("docs/performance.md", r"REST API cost \$([\d.]+)"),
            ("docs/architecture.md", r"costs less: \$([\d.]+)"),
        ],
    ),
    (
        "cents a month while idle",
        [
            ("docs/deploy.md", r"while idle\*\*: about (\d+) cents"),
            ("docs/performance.md", r"in the registry, (\d+) cents"),
        ],
    ),
    (
        "dollars of a million calls' traces",
        [
            ("docs/deploy.md", r"cost up to \$([\d.]+) a million calls"),
            ("docs/performance.md", r"traces, up to \$([\d.]+) a million"),
        ],
    ),
    (
        "megabytes of images in a request",
        [
            ("README.md", r"at most about ([\d.]+) MB of them"),
            ("docs/api.md", r"which is ([\d.]+) MB of images"),
        ],
    ),
    (
        "millions of pixels of an image",
        [
            ("docs/security.md", r"pixels \| (\d+) million; (\d+) million in WebP"),
            ("docs/api.md", r"; (\d+) million pixels each \((\d+) million in WebP"),
        ],
    ),
    (
        "megabytes of a colour profile",
        [
            ("docs/security.md", r"colour profiles \| (\d+) MB"),
            ("docs/api.md", r"more than (\d+) MB are ignored"),
        ],
    ),
    (
        "dollars of a GB-second",
        [
            ("docs/performance.md", r"GB-second on ARM costs \$([\d.]+)"),
            ("docs/bulk.md", r"\$([\d.]+)\]\([^)]*\) a GB-second"),
        ],
    ),
]


def decimals(figure: str) -> int:
    return len(figure.partition(".")[2])


@pytest.mark.parametrize(("name", "places"), FIGURES, ids=[name for name, _ in FIGURES])
def test_a_figure_is_the_same_wherever_it_stands(name: str, places: list[tuple[str, str]]) -> None:
    found = []
    for guide, pattern in places:
        # A line may end at any blank.
        text = (ROOT / guide).read_text(encoding="utf-8")
        match = re.search(pattern.replace(" ", r"\s+"), text)
        assert match, f"{name}: {guide} has nothing like {pattern}"
        found.append(match.groups())
    for figures in zip(*found, strict=True):
        least = min(map(decimals, figures))
        values = sorted(map(float, figures))
        assert values[-1] - values[0] <= 0.5001 * 10**-least, f"{name}: {figures}"


def test_the_sums_of_the_estimates_are_those_of_a_million() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    [single] = re.findall(r"100 ms each, a guess .* \*\*\$([\d.]+)\*\*", page)
    [batched] = re.findall(r"32 images a call, .* \*\*\$([\d.]+)\*\*", page)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"about ${round(float(single) * 1000)} one a call" in readme
    assert f"about ${round(float(batched) * 1000)} in calls of 32" in readme
