"""Chooses the bundle of a command, by one rule for all commands."""

import contextlib
import platform
import re
import sys
from pathlib import Path

from classifier.contract.bundle import MANIFEST, BundleError, BundleManifest, read_manifest

MODELS = Path("models")
DEMO = "demo"
# The target whose products saturate on other processors.
VNNI = "x86_64-vnni"
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


def announced(bundle: Path, processor: str | None = None) -> Path:
    """The bundle, after a line that names its model. Errors in it are reported when it is loaded.

    `processor`: this machine's, unless given. Exits if its answers would be wrong there.
    """
    with contextlib.suppress(BundleError):
        manifest = read_manifest(bundle, verify_hashes=False)
        note = f" {ONLY_DRAWINGS}" if manifest.name == DEMO else ""
        made_for = manifest.fidelity.get("target")
        here = processor or target()
        again = f"make model {of(manifest)}TARGET={here}"
        if made_for is None or set(manifest.precision.values()) == {"fp32"}:
            pass
        elif made_for == VNNI != here:
            sys.exit(
                f"{bundle} was made for processors with VNNI, which this machine hasn't: its"
                f" answers would be wrong. Make it again: {again}"
            )
        elif (made_for == "arm64") != (here == "arm64"):
            note = f" It was made for {made_for}. For this machine, perhaps faster: {again}"
        print(f"Model: {manifest.name}, of {bundle}.{note}", file=sys.stderr)
    return bundle


def of(manifest: BundleManifest) -> str:
    """The variables of `make model` that name the model, if open_clip has its weights."""
    if not manifest.pretrained:
        return ""
    return f"MODEL={manifest.model} PRETRAINED={manifest.pretrained} "


def target() -> str:
    """This machine among the targets of `make model`."""
    if platform.machine() in ("arm64", "aarch64"):
        return "arm64"
    described = Path("/proc/cpuinfo")
    has_vnni = described.exists() and re.search(r"vnni\b", described.read_text())
    return VNNI if has_vnni else "x86_64"
