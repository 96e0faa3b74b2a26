"""The folder that a bundle is put into."""

import shutil
from pathlib import Path

from classifier.contract.bundle import FILES, MANIFEST
from export.errors import ExportError

# Any file that isn't a bundle's own is the user's, and is never deleted.
REPLACEABLE = {*FILES, MANIFEST, "README.md"}


def check_output(output: Path) -> None:
    """Raises ExportError for a folder that holds anything but a bundle: it would be replaced as a
    whole.
    """
    if output in (Path.cwd(), *Path.cwd().parents):
        raise ExportError(
            f"{output} is the current folder or above it; name the bundle's own folder, such as"
            " models/my-model."
        )
    if not output.exists():
        return
    others = (
        [path.name for path in output.iterdir() if path.name not in REPLACEABLE]
        if output.is_dir()
        else [output.name]
    )
    if others or (any(output.iterdir()) and not (output / MANIFEST).is_file()):
        raise ExportError(
            f"{output} is there and is not a bundle alone"
            f" ({', '.join(others[:3]) or 'no bundle.json'}); name a folder that doesn't exist, or"
            " a bundle to replace."
        )


def swap(folder: Path, output: Path) -> None:
    """Puts the folder in place by renaming, so that one bundle is there at any moment."""
    old = folder.with_name(f"{folder.name}-old")
    replaces = output.exists()
    if replaces:
        output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        if replaces:
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
