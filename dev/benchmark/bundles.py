"""The bundles that are measured, of the same random weights."""

from pathlib import Path

from tools.bundles import target

FOLDER = Path("build/benchmark")
MODEL = "ViT-B-32-quickgelu"
TAG = "openai"
CHECKPOINT = FOLDER / "random.pt"
HOLDING = FOLDER / "holding"
FASTEST = FOLDER / "int8"
FP32 = FOLDER / "fp32"


def make_models() -> None:
    """Bundles of one and the same random weights, made as any bundle is."""
    import torch

    from dev.weights import unfriendly
    from export.pipeline import export
    from export.sources.architecture import Architecture
    from export.sources.source import read_table

    FOLDER.mkdir(parents=True, exist_ok=True)
    weights = unfriendly(Architecture.model_validate(read_table()["architectures"][MODEL]))
    torch.save({name: torch.from_numpy(values) for name, values in weights.items()}, CHECKPOINT)
    for folder, precision in ((HOLDING, "auto"), (FASTEST, "int8"), (FP32, "fp32")):
        export(
            MODEL,
            str(CHECKPOINT),
            TAG,
            precision,
            folder,
            name="random",
            licence="none",
            target=target(),
        )
