"""Takes each encoder's fastest precision whose decisions hold, on the processor that will serve."""

import gc
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from classifier.contract.bundle import TextSettings
from classifier.model.encoders import Encoders
from classifier.model.tokenizer import Tokenizer
from export.graphs.model_file import MOMENT_ROWS
from export.graphs.model_file import calibrate as statistics_of
from export.graphs.precisions import LADDERS, STEPS, Floats
from export.graphs.rotation import NotRotatableError
from export.graphs.text_inputs import run_inputs
from export.graphs.towers import Statistics, write_encoder
from export.judging.material import calibration_sentences, pictures
from export.judging.verify import MAX_CHANGE, Reference, Served, Verdict, judge
from export.progress import say
from export.sources.source import Source

CALIBRATING = 64
# A precision whose change on the first third of the images is so far past the gate's limit isn't
# tried on the others.
FIRST_LOOK = 40
EARLY_STOP_FACTOR = 1.2
Figures = dict[str, float | int | str]


@dataclass(frozen=True)
class Attempt:
    """A step that was written: how near to fp32 it decides, with the embeddings of both encoders if
    it is taken.
    """

    step: str
    verdict: Verdict
    served: Served


@dataclass(frozen=True)
class Calibrated:
    """What quantised steps are written from: the weights, rotated or not, and `statistics` of what
    reached their products.
    """

    source: Source
    statistics: Statistics


@dataclass(frozen=True)
class Ladder:
    """The steps of a bundle in the making: `folder` holds both encoders in fp32, and `served` holds
    their embeddings.

    `inputs` is where write_encoder found what each product takes, by encoder; `load` opens the
    folder's encoders as they are now; `quick`: weights aren't rotated, and are rounded to the
    nearest, which takes less time.
    """

    folder: Path
    source: Source
    text: TextSettings
    inputs: Mapping[str, Mapping[str, str]]
    load: Callable[[], Encoders]
    reference: Reference
    served: Served
    target: str
    quick: bool = False

    def take(self, precision: str) -> tuple[dict[str, str], Figures]:
        """The step that each encoder takes, and the figures of every step tried.

        `precision`: `auto`, or the step to take whether it holds or not.
        """
        figures = Figures(target=self.target)
        chosen = dict[str, str]()
        served = self.served
        for encoder in ("image", "text"):
            with_fp32 = self.set_aside(encoder)
            for attempt in self._attempts(
                encoder, with_fp32 / f"{encoder}.onnx", precision, served
            ):
                name = attempt.step
                verdict = attempt.verdict
                figures[f"{encoder}_{name}_best_label_equal_at_least"] = round(
                    verdict.equal_at_least, 5
                )
                figures[f"{encoder}_{name}_change_99th_percentile"] = round(verdict.change, 5)
                taken = verdict.holds or precision == name
                outcome = (
                    "not near enough"
                    if not taken
                    else "taken"
                    if verdict.holds
                    else "taken as asked, though it isn't near enough"
                )
                say(f"{encoder} encoder in {name}: {verdict}: {outcome}")
                if taken:
                    chosen[encoder] = name
                    served = attempt.served
                    break
            else:
                chosen[encoder] = "fp32"
                for path in with_fp32.iterdir():
                    path.replace(self.folder / path.name)
                say(f"{encoder} encoder: fp32")
            figures[f"{encoder}_in_fp32"] = in_fp32(
                self.folder / f"{encoder}.onnx", chosen[encoder], precision
            )
            shutil.rmtree(with_fp32)
        verdict = judge(served, self.reference)
        say(f"as it serves: {verdict}")
        return chosen, figures | {
            "decided_pairs": verdict.decided,
            "best_label_equal": round(verdict.equal, 5),
            "best_label_equal_at_least": round(verdict.equal_at_least, 5),
            "change_99th_percentile": round(verdict.change, 5),
        }

    def set_aside(self, encoder: str) -> Path:
        """Moves an encoder's graph and weights into a folder of their own."""
        aside = self.folder / "fp32"
        aside.mkdir()
        for name in (f"{encoder}.onnx", f"{encoder}.weights"):
            (self.folder / name).rename(aside / name)
        return aside

    def _attempts(
        self, encoder: str, fp32: Path, precision: str, served: Served
    ) -> Iterator[Attempt]:
        """Writes one step after the other."""
        ladder: Sequence[str] = LADDERS[self.target] if precision == "auto" else (precision,)
        steps = tuple(step for step in ladder if step != "fp32")
        if steps:
            rounding = any(STEPS[step].bits <= 8 for step in steps)
            calibrated = self.calibrate(encoder, fp32, rounding=rounding)
        for step in steps:
            yield self.try_step(encoder, step, calibrated, served, required=precision == step)

    def try_step(
        self,
        encoder: str,
        step: str,
        calibrated: Calibrated,
        served: Served,
        *,
        required: bool = False,
    ) -> Attempt:
        """Writes the step and judges it, together with what the other encoder serves; `required`
        if it is taken anyway.
        """
        self._write(encoder, step, calibrated)
        encoders = self.load()
        looks = [slice(None)]
        if encoder == "image" and not required and len(self.reference.pixels) > FIRST_LOOK:
            looks = [slice(FIRST_LOOK), slice(FIRST_LOOK, None)]
        rows = self._embed(encoders, encoder, looks[0])
        if len(looks) > 1:
            few = replace(self.reference, images=self.reference.images[:FIRST_LOOK])
            first = replace(served, images=rows)
            verdict = judge(first, few)
            if verdict.change > EARLY_STOP_FACTOR * MAX_CHANGE:
                return Attempt(step, verdict, first)
            # An embedding depends on its own input alone, so that those of the first look count.
            rows = np.concatenate([rows, self._embed(encoders, encoder, looks[1])])
        del encoders
        tried = replace(served, **{f"{encoder}s": rows})
        if self.target == "x86_64-vnni":
            # Without VNNI these products would saturate here; the uint8 ones that were judged give
            # the same integers.
            self._write(encoder, step, calibrated, signed=True)
        return Attempt(step, judge(tried, self.reference), tried)

    def _write(
        self, encoder: str, step: str, calibrated: Calibrated, *, signed: bool = False
    ) -> None:
        statistics = calibrated.statistics
        write_encoder(calibrated.source, encoder, step, self.folder, statistics, signed=signed)
        gc.collect()

    def _embed(self, encoders: Encoders, encoder: str, part: slice) -> Floats:
        """The embeddings of some of the reference's images or sentences."""
        if encoder == "image":
            return np.stack(encoders.encode_images(self.reference.pixels[part]))
        tokenizer = Tokenizer(self.folder, self.text)
        return np.stack(
            encoders.encode_text(
                [tokenizer.encode(text) for text in self.reference.sentences[part]]
            )
        )

    def calibrate(self, encoder: str, fp32: Path, *, rounding: bool = True) -> Calibrated:
        """What reaches each product, from images or sentences that nothing is judged on."""
        say(f"calibrating the {encoder} encoder")
        rounding = rounding and not self.quick
        runs = list(self.runs(encoder))
        if encoder == "image" and not self.quick:
            rotated = replace(self.source, rotated=True)
            try:
                with tempfile.TemporaryDirectory(dir=fp32.parent) as folder:
                    inputs = write_encoder(rotated, encoder, "fp32", Path(folder))
                    seen = statistics_of(Path(folder) / fp32.name, inputs, runs, moments=rounding)
                return Calibrated(rotated, seen)
            except NotRotatableError as err:
                say(f"the image encoder isn't rotated: {err}")
        seen = statistics_of(fp32, self.inputs[encoder], runs, moments=rounding)
        return Calibrated(self.source, seen)

    def runs(self, encoder: str) -> Iterator[Mapping[str, NDArray[Any]]]:
        """What calibration runs an encoder on."""
        if encoder == "image":
            size = (self.source.image_size, self.source.image_size)
            for picture in pictures(CALIBRATING, "calibration"):
                yield {"pixels": np.asarray(picture.resize(size))[None]}
        else:
            tokenizer = Tokenizer(self.folder, self.text)
            texts = [self.text.padded(tokenizer.encode(text)) for text in calibration_sentences()]
            for length, group in groupby(sorted(texts, key=len), len):
                alike = list(group)
                # A run's rows past these don't count.
                some = max(1, MOMENT_ROWS // length)
                for i in range(0, len(alike), some):
                    yield run_inputs(self.source, alike[i : i + some])


def in_fp32(path: Path, step: str, asked: str) -> str:
    """What an encoder multiplies in fp32, and why."""
    if step == "fp32":
        return "all, " + ("as asked" if asked == step else "as no faster step decides like it")
    graph = onnx.load(path, load_external_data=False).graph
    ranks = {array.name: len(array.dims) for array in graph.initializer}
    convolutions = sum(node.op_type == "Conv" for node in graph.node)
    products = [ranks.get(node.input[1]) for node in graph.node if node.op_type == "MatMul"]
    return (
        f"{convolutions} convolutions, which have no other step; {products.count(2)} products of"
        " one row behind the pooling, whose error is the embedding's own;"
        f" {products.count(3)} that rotate what all layers see"
    )
