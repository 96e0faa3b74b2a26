"""What goes into the image beside the package, one bundle and classifiers, checked before anything is built."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from classifier.bundle import FILES, MANIFEST, BundleError, read_manifest
from classifier.classifiers import FOLDER, ClassifierError, read_classifiers
from stacks.settings import Settings, SettingsError


@dataclass(frozen=True)
class Bundle:
    """`path` is relative to the repository's root; it is the value of the Dockerfile's argument BUNDLE. `classifiers`: their files."""

    path: str
    files: tuple[str, ...]
    classifiers: tuple[str, ...] = ()

    @classmethod
    def read(cls, root: Path, settings: Settings) -> Self:
        """Raises SettingsError for a folder outside the repository, a damaged bundle, the demo model, or a classifier that can't be used
        with the bundle."""
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
        names = None if settings.classifiers == "all" else settings.classifiers
        # The demo model may stand in for the one that classifiers were fitted on.
        fitted_on = None if manifest.model == "demo" else manifest
        try:
            classifiers = read_classifiers(root / FOLDER, fitted_on, names)
        except ClassifierError as err:
            raise SettingsError(f"classifiers={'all' if names is None else ','.join(names)}: {err}") from err
        files = tuple((path / name).as_posix() for name in (MANIFEST, *FILES))
        return cls(path.as_posix(), files, tuple(f"{FOLDER}/{name}.json" for name in classifiers))
