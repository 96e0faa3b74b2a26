"""Chooses the bundle of a command, by one rule for all commands."""

import contextlib
import sys
from pathlib import Path

from classifier.contract.bundle import MANIFEST, BundleError, read_manifest

MODELS = Path("models")
DEMO = "demo"
BUNDLE_HELP = "default: the only real one in models, else the demo"
ONLY_DRAWINGS = "This is the demo model, trained on drawings: it says nothing about photographs."


def choose(requested: Path | None, models: Path = MODELS) -> Path:
    """The requested bundle, else the only real one, else the demo. Exits if there are several, or
    if the requested one doesn't exist.
    """
    if requested and (requested / MANIFEST).exists():
        return requested
    if requested:
        sys.exit(f"{requested} holds no bundle. {how_to_make(requested)}")
    found = real(models)
    if len(found) > 1:
        names = "".join(f"\n  BUNDLE={path}" for path in found)
        print(f"There are several bundles; name one:{names}", file=sys.stderr)
        raise SystemExit(2)
    return found[0] if found else models / DEMO


def how_to_make(bundle: Path) -> str:
    """The command that makes a bundle in this folder, if its name tells the model."""
    model, _, pretrained = bundle.name.rpartition("-")
    if not model or bundle.parent != MODELS:
        return "One is made in models/MODEL-PRETRAINED by: make model MODEL=… PRETRAINED=…"
    return f"Make it: make model MODEL={model} PRETRAINED={pretrained}"


def real(models: Path = MODELS) -> list[Path]:
    """The bundles of real models, which a deployment can take."""
    return [path for path in complete(models) if path.name != DEMO]


def complete(models: Path = MODELS, name: str = "*") -> list[Path]:
    """The folders of bundles, of this name or all. Those that are still being made, or were when
    their program was killed, are hidden.
    """
    found = (path.parent for path in models.glob(f"{name}/{MANIFEST}"))
    return sorted(path for path in found if not path.name.startswith("."))


def of_model(fingerprint: str, models: Path = MODELS) -> list[Path]:
    """The real bundles with this fingerprint."""
    found = []
    for path in real(models):
        with contextlib.suppress(BundleError):
            if read_manifest(path, verify_hashes=False).fingerprint == fingerprint:
                found.append(path)
    return found


def announced(bundle: Path) -> Path:
    """The bundle, after a line that names its model. Errors in it are reported when it is
    loaded.
    """
    with contextlib.suppress(BundleError):
        name = read_manifest(bundle, verify_hashes=False).name
        warning = f" {ONLY_DRAWINGS}" if name == DEMO else ""
        print(f"Model: {name}, of {bundle}.{warning}", file=sys.stderr)
    return bundle
