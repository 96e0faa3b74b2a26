"""Warnings about a function that is too small for its bundle."""

import json

import pytest

from classifier.contract.bundle import BundleManifest
from stacks.capacity import doubts
from stacks.settings.deployment import Settings
from tests.support.requests import DEMO

GB = 1_000_000_000


def found(precision: str, size: int, image: float, text: float, **settings: object) -> list[str]:
    """The doubts about a bundle whose encoders have so many GB of weights."""
    described = json.loads((DEMO / "bundle.json").read_text(encoding="utf-8"))
    described |= {"model": "large", "pretrained": None}
    described["precision"] = {"image": precision, "text": precision}
    described["image"]["size"] = size
    for name, weights in (("image", image), ("text", text)):
        described["files"][f"{name}.weights"]["bytes"] = int(weights * GB)
    manifest = BundleManifest.model_validate(described)
    return doubts(manifest, Settings.read({"bundle": "models/large", **settings}))


@pytest.mark.parametrize(
    "bundle",
    [
        ("int8-full", 224, 0.092, 0.065),  # ViT-B-32
        ("fp32", 224, 0.351, 0.254),
        ("int14", 336, 0.61, 0.25),  # ViT-L-14-336
        ("int8-full", 224, 0.64, 0.36),  # ViT-H-14
    ],
)
def test_a_bundle_that_fits_the_default_function_raises_no_doubt(
    bundle: tuple[str, int, float, float],
) -> None:
    assert found(*bundle) == []


def test_too_little_memory_is_told_with_the_estimate_and_what_to_set() -> None:
    [memory] = found("int8-full", 224, 1.85, 0.7)  # ViT-bigG-14
    assert "needs about 5,800 MB of memory, and memory=3008. Set memory=5800" in memory
    assert found("int8-full", 224, 1.85, 0.7, memory=5800) == []
    assert "memory=2000. Set memory=2700" in found("int8-full", 224, 0.64, 0.36, memory=2000)[0]


def test_a_model_that_no_function_can_hold_start_or_run_in_time_is_told_so() -> None:
    memory, start, time = found("fp32", 224, 7.4, 2.8, timeout=20)
    assert "needs about 21,100 MB" in memory
    assert "Lambda gives at most 10,240" in memory
    assert "loads in about 26 s, and Lambda begins an initialisation again after 10 s" in start
    assert "takes about 27 s an image on 1.7 vCPUs, and timeout=20" in time


def test_time_counts_pixels_precision_vcpus_and_the_timeout() -> None:
    bundle = ("int8-full", 378, 0.64, 0.36)  # ViT-H-14-378
    assert found(*bundle) == []
    [time] = found(*bundle, timeout=10)
    assert "takes about 17 s an image" in time
    assert found(*bundle, timeout=10, memory=6016) == []
