"""The one bundle that goes into the image, checked before anything is built."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from classifier.bundle import FILES, MANIFEST, BundleError, read_manifest
from stacks.settings import Settings, SettingsError


@dataclass(frozen=True)
class Bundle:
    """`path` is relative to the repository's root; it is the value of the Dockerfile's argument BUNDLE."""

    path: str
    files: tuple[str, ...]

    @classmethod
    def read(cls, root: Path, settings: Settings) -> Self:
        """Raises SettingsError for a folder outside the repository, a damaged bundle, or the demo model."""
        setting = f"bundle={settings.bundle}"
        folder = (root / settings.bundle).resolve()
        if not folder.is_relative_to(root.resolve()) or not re.fullmatch(r"[\w.+@/-]+", settings.bundle, re.ASCII):
            raise SettingsError(f"{setting} is not allowed. Allowed: {Settings.model_fields['bundle'].description}.")
        path = folder.relative_to(root.resolve())
        try:
            manifest = read_manifest(folder, verify_hashes=True)
        except BundleError as err:
            raise SettingsError(f"{setting}: {err}") from err
        if manifest.model == "demo" and not settings.synth_only:
            raise SettingsError(
                f"{setting} is the demo model, which knows nothing about photographs and can't be deployed. Allowed: a real model's "
                "bundle (make model MODEL=… PRETRAINED=…). For the template alone: make synth."
            )
        return cls(path.as_posix(), tuple((path / name).as_posix() for name in (MANIFEST, *FILES)))
