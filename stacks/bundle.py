"""The parts of the image apart from the package: one bundle and classifiers, checked before
anything is built.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from classifier.contract.bundle import FILES, MANIFEST, BundleError, BundleManifest, read_manifest
from classifier.contract.classifiers.file import ClassifierError, ClassifierFile
from classifier.contract.classifiers.folder import (
    FOLDER,
    available,
    fitted_elsewhere,
    read_classifiers,
)
from stacks.capacity import doubts
from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError

# Raises ClassifierError for prompts that the bundle in the folder can't encode.
Check = Callable[[Mapping[str, ClassifierFile], Path, BundleManifest], None]


@dataclass(frozen=True)
class Bundle:
    """`path` is relative to the repository's root; it is the value of the Dockerfile's argument
    BUNDLE. `classifiers`: their files. `left_out`: a sentence for each classifier of another model.
    `all_learned`: there are classifiers, and none encodes a text. `doubts`: a sentence for each
    thing that the function is probably too small for.
    """

    path: str
    files: tuple[str, ...]
    classifiers: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    all_learned: bool = False
    doubts: tuple[str, ...] = ()

    @classmethod
    def read(cls, root: Path, settings: Settings, check: Check) -> Self:
        """`check` is asked about the classifiers' prompts. Raises SettingsError for a folder
        outside the repository, a damaged bundle, the demo model, or a classifier that can't be
        used with the bundle.
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
        classifiers, left_out = deployed_classifiers(
            root, settings, None if manifest.model == "demo" else manifest, check
        )
        files = tuple((path / name).as_posix() for name in (MANIFEST, *FILES))
        names = tuple(f"{FOLDER}/{name}.json" for name in classifiers)
        all_learned = bool(classifiers) and all(file.head for file in classifiers.values())
        too_small = tuple(doubts(manifest, settings))
        return cls(path.as_posix(), files, names, tuple(left_out), all_learned, too_small)


def deployed_classifiers(
    root: Path, settings: Settings, manifest: BundleManifest | None, check: Check
) -> tuple[dict[str, ClassifierFile], list[str]]:
    """Those that the settings name, checked against the model if there is one. Of all, those that
    were fitted on another model are left out, with a sentence for each. Raises SettingsError.
    """
    folder = root / FOLDER
    everything = settings.classifiers == "all"
    try:
        elsewhere = fitted_elsewhere(folder, manifest) if everything and manifest else {}
        names = [
            name
            for name in (available(folder) if everything else settings.classifiers)
            if name not in elsewhere
        ]
        files = read_classifiers(folder, manifest, names)
        if manifest:
            check(files, root / settings.bundle, manifest)
        return files, list(elsewhere.values())
    except ClassifierError as err:
        setting = "all" if everything else ",".join(settings.classifiers) or "none"
        raise SettingsError(f"classifiers={setting}: {err}") from err
