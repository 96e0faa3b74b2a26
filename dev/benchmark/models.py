"""Measures each distinct tower of the table of models: make benchmark NAME=models.

Time depends on shape alone, so that weights are random, calibration is made up, and models that
share a tower share its row. Each row is stored as it is measured, and a later run goes on with the
others. Linux alone.
"""

import argparse
import gc
import json
import multiprocessing
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import Weights
from dev.benchmark.machine import machine, say
from dev.benchmark.tower_probe import probe
from export.graphs.precisions import LADDERS, Floats
from export.graphs.rounding import InputStatistics
from export.graphs.text_inputs import run_inputs
from export.graphs.towers import write_encoder
from export.sources.architecture import Architecture
from export.sources.source import Source, read_table
from export.table.rows import DEFAULT, MEASURED, VOCABULARY
from tools.bundles import VNNI, target

# Towers of more than so many times the default's work are left to be computed from it.
MAX_WORK = 20
LABELS = 9
TOKENS = 8
SETTINGS = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}
# A prime, so that no two rows of a table are equal.
TILE = 1_000_003


class Tiled(Mapping[str, Floats]):
    """Weights by name, of a model as it is initialised: made of one tile of random numbers, each
    when it is asked for.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._tile = np.random.default_rng(0).standard_normal(TILE, np.float32)

    def __getitem__(self, name: str) -> Floats:
        shape = self._shapes[name]
        if len(shape) < 2:
            value = 0 if name.endswith(("bias", "running_mean")) else 1
            return np.full(shape, value, np.float32)
        # ONNX Runtime keeps equal weights once, which then stay in a cache: no two are to be equal.
        tile = np.roll(self._tile, crc32(name.encode()))
        return np.resize(tile, shape) * np.float32(np.prod(shape[1:], dtype=float) ** -0.5)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


@dataclass
class Tower:
    """One of a model's two towers, and the models that have it; `work` in multiples of the
    default's. Rows of a token table that no text takes cost no time: all have VOCABULARY.
    """

    encoder: str
    architecture: Architecture
    work: float
    models: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return min(self.models, key=lambda name: (len(name), name))

    def source(self) -> Source:
        architecture = self.architecture
        return Source(
            self.name,
            architecture,
            Tiled(architecture.shapes()),
            SETTINGS,
            Weights(source="random", revision=None, sha256=""),
            "none",
        )

    def feed(self) -> dict[str, NDArray[Any]]:
        """One image, or nine new labels."""
        rng = np.random.default_rng(0)
        if self.encoder == "image":
            side = self.architecture.image.image_size
            return {"pixels": rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8)}
        text = self.architecture.text
        length = TOKENS if text.own_length else text.context_length
        ids = rng.integers(0, VOCABULARY - 2, (LABELS, length))
        return run_inputs(self.source(), ids.tolist())


def towers(table: Mapping[str, Any]) -> list[Tower]:
    """Each distinct tower of models that have weights, the cheapest first."""
    default = table["costs"][DEFAULT[0]]
    found: dict[str, Tower] = {}
    for model in table["pretrained"]:
        architecture = Architecture.model_validate(table["architectures"][model])
        text = architecture.text.model_copy(update={"vocabulary": VOCABULARY})
        if text.eos_id is not None:
            text = text.model_copy(update={"eos_id": 2})
        costs = table["costs"][model]
        for encoder, part, cost in (
            ("image", architecture.image, "image"),
            ("text", text, "label"),
        ):
            key = f"{encoder} {architecture.dimension} {part.model_dump_json()}"
            tower = Tower(
                encoder,
                architecture.model_copy(update={"text": text}),
                costs[cost] / default[cost],
            )
            found.setdefault(key, tower).models.append(model)
    return sorted(found.values(), key=lambda tower: tower.work)


@dataclass(frozen=True)
class Precision:
    """`name` in the table; `step`: of STEPS."""

    name: str
    step: str
    signed: bool = False


def precisions() -> list[Precision]:
    """fp32, the fastest 8 bits of this machine, and 14."""
    here = target()
    return [
        Precision("fp32", "fp32"),
        Precision("int8", LADDERS[here][0], here == VNNI),
        Precision("int14", "int14", here == VNNI),
    ]


def written(tower: Tower, folder: Path) -> Iterator[tuple[Precision, Path]]:
    """The graph in each precision, one after the other in its folder; calibration is made up: all
    products take values up to the same one.
    """
    source = tower.source()
    statistics: dict[str, InputStatistics] = {}
    for precision in precisions():
        place = folder / precision.name
        place.mkdir(parents=True, exist_ok=True)
        inputs = write_encoder(
            source, tower.encoder, precision.step, place, statistics, signed=precision.signed
        )
        statistics = statistics or {
            product: InputStatistics(np.array([4], np.float32)) for product in inputs
        }
        gc.collect()
        yield precision, place / f"{tower.encoder}.onnx"


def measure(tower: Tower, default: Tower, standards: Path, folder: Path) -> dict[str, Any]:
    """A row: by precision, what `probe` finds and the graph's bytes on disk."""
    row: dict[str, Any] = {"models": sorted(tower.models), "machine": machine()}
    spawn = multiprocessing.get_context("spawn")
    for precision, path in written(tower, folder):
        standard = standards / precision.name / f"{tower.encoder}.onnx"
        mine, theirs = spawn.Pipe()
        feeds = (path, tower.feed(), standard, default.feed())
        process = spawn.Process(target=probe, args=(theirs, *feeds))
        process.start()
        theirs.close()
        row[precision.name] = mine.recv()
        process.join()
        files = (path, path.with_suffix(".weights"))
        row[precision.name]["bytes"] = sum(file.stat().st_size for file in files)
        for file in files:
            file.unlink()
    return row


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """By encoder and the tower's name."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {encoder: rows.get(encoder, {}) for encoder in ("image", "text")}


def write_rows(rows: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """A line a row."""
    parts = [
        f' "{encoder}": {{\n'
        + ",\n".join(f'  "{name}": {json.dumps(row)}' for name, row in sorted(some.items()))
        + "\n }"
        for encoder, some in rows.items()
    ]
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def fill(every: Sequence[Tower], defaults: Mapping[str, Tower], path: Path) -> None:
    """Measures the towers that lack a row; each row is written as soon as there is one."""
    rows = read_rows(path)
    for tower in every:
        # A model that came later may share a tower that was measured.
        rows[tower.encoder].get(tower.name, {})["models"] = sorted(tower.models)
    waiting = [tower for tower in every if tower.name not in rows[tower.encoder]]
    say(f"{len(waiting)} towers wait for a row")
    with tempfile.TemporaryDirectory() as name:
        standards = Path(name) / "default"
        for encoder in {tower.encoder for tower in waiting}:
            list(written(defaults[encoder], standards))
        for tower in waiting:
            row = measure(tower, defaults[tower.encoder], standards, Path(name) / "tower")
            rows[tower.encoder][tower.name] = row
            write_rows(rows, path)
            times = {key: part["times"] for key, part in row.items() if isinstance(part, dict)}
            say(f"{tower.encoder} of {tower.name}, {tower.work:.2f} times the work: {times}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=MEASURED)
    given = parser.parse_args()
    every = towers(read_table())
    defaults = {tower.encoder: tower for tower in every if DEFAULT[0] in tower.models}
    fill([tower for tower in every if tower.work <= MAX_WORK], defaults, given.rows)


if __name__ == "__main__":
    main()
