"""The one bundle that goes into the image, checked before anything is built."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stacks.settings import Settings, SettingsError

# The bundle's contract, as the run time has it.
FORMAT = 2
FILES = ("image.onnx", "text.onnx", "tokenizer.json")


@dataclass(frozen=True)
class Bundle:
    """`path` is relative to the repository's root and is what the Dockerfile's argument BUNDLE takes."""

    path: str
    files: tuple[str, ...]

    @classmethod
    def read(cls, root: Path, settings: Settings) -> Self:
        """Checks format, presence, sizes and sha256. Raises SettingsError."""
        said = f"bundle={settings.bundle}"
        folder = (root / settings.bundle).resolve()
        if not folder.is_relative_to(root.resolve()) or not re.fullmatch(r"[\w.+@/-]+", settings.bundle, re.ASCII):
            raise SettingsError(f"{said} is not allowed. Allowed: {Settings.model_fields['bundle'].description}.")
        again = "make it with: make model MODEL=… PRETRAINED=…"
        try:
            described = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
            version, model, listed = described["format"], described["model"], described["files"]
            expected = {name: (listed[name]["bytes"], listed[name]["sha256"]) for name in FILES}
        except OSError as err:
            raise SettingsError(f"{said} has no bundle.json; {again}, or name another folder under models/.") from err
        except (ValueError, LookupError, TypeError) as err:
            raise SettingsError(f"{said}: its bundle.json can't be read as format {FORMAT}; {again}") from err
        if version != FORMAT:
            raise SettingsError(f"{said} has format {version}, this program takes {FORMAT}; {again}")
        if model == "demo" and not settings.synth_only:
            raise SettingsError(
                f"{said} is the demo model, which says nothing about photographs and is not deployed. Allowed: a real model's "
                "bundle (make model MODEL=… PRETRAINED=…); to look at the template alone: make synth."
            )
        for name, (size, digest) in expected.items():
            file = folder / name
            if not file.is_file():
                raise SettingsError(f"{said}: {name} is missing; {again}")
            if file.stat().st_size != size or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                raise SettingsError(f"{said}: {name} is not the file that bundle.json describes (sha256 or size); {again}")
        path = folder.relative_to(root.resolve()).as_posix()
        return cls(path, tuple(f"{path}/{name}" for name in ("bundle.json", *FILES)))
