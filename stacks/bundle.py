"""What goes into the image beside the package, one bundle and classifiers, checked before anything
is built.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from classifier.contract.bundle import FILES, MANIFEST, BundleError, BundleManifest, read_manifest
from classifier.contract.classifier_file import (
    FOLDER,
    ClassifierError,
    ClassifierFile,
    read_classifiers,
)
from classifier.engine.registry import check_prompts
from stacks.settings import Settings, SettingsError


@dataclass(frozen=True)
class Bundle:
    """`path` is relative to the repository's root; it is the value of the Dockerfile's argument
    BUNDLE. `classifiers`: their files.
    """

    path: str
    files: tuple[str, ...]
    classifiers: tuple[str, ...] = ()

    @classmethod
    def read(cls, root: Path, settings: Settings) -> Self:
        """Raises SettingsError for a folder outside the repository, a damaged bundle, the demo
        model, or a classifier that can't be used with the bundle.
        """
        setting = f"bundle={settings.bundle}"
        folder = (root / settings.bundle).resolve()
        if not folder.is_relative_to(root.resolve()) or not re.fullmatch(
            r"[\w.+@/-]+", settings.bundle, re.ASCII
        ):
            raise SettingsError(
                f"{setting} is not allowed. Allowed: {Settings.model_fields['bundle'].description}."
            )
        path = folder.relative_to(root.resolve())
        try:
            manifest = read_manifest(folder, verify_hashes=True)
        except BundleError as err:
            raise SettingsError(f"{setting}: {err}") from err
        if manifest.model == "demo" and not settings.synth_only:
            raise SettingsError(
                f"{setting} is the demo model, which knows nothing about photographs and can't be"
                " deployed. Allowed: a real model's bundle (make model MODEL=… PRETRAINED=…). For"
                " the template alone: make synth."
            )
        # The demo model may stand in for the one that classifiers were fitted on.
        classifiers = deployed_classifiers(
            root, settings, None if manifest.model == "demo" else manifest
        )
        files = tuple((path / name).as_posix() for name in (MANIFEST, *FILES))
        return cls(path.as_posix(), files, tuple(f"{FOLDER}/{name}.json" for name in classifiers))


def deployed_classifiers(
    root: Path, settings: Settings, manifest: BundleManifest | None
) -> dict[str, ClassifierFile]:
    """Those that the settings name, checked against the model if there is one. Raises
    SettingsError.
    """
    names = None if settings.classifiers == "all" else settings.classifiers
    try:
        files = read_classifiers(root / FOLDER, manifest, names)
        if manifest:
            check_prompts(files, root / settings.bundle, manifest)
        return files
    except ClassifierError as err:
        raise SettingsError(
            f"classifiers={'all' if names is None else ','.join(names) or 'none'}: {err}"
        ) from err
