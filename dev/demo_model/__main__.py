"""Trains the demo model on drawings, exports it like any other model, and measures the bundle.

`make demo-model` runs it in the export environment. It needs Debian's fonts-noto-color-emoji,
unicode-data and unicode-cldr-core.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from classifier.contract.bundle import read_manifest
from classifier.contract.request.fields import SLOT
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import PromptCache
from classifier.engine.tokenized import Templates
from classifier.model.encoders import Encoders
from dev.demo_model.world import (
    HELD_OUT_PAIRS,
    NEGATIVE_WORDINGS,
    NEUTRAL,
    PAIRS,
    PARTS,
    Facts,
    Shapes,
    average_precision,
    concepts,
    emoji,
    is_true,
    picture_of,
    random_concept,
    random_facts,
    random_shapes,
    word,
)
from export.pipeline import export

BATCH = 128
NEGATIVES = 32  # captions of a step that also get a negative, such as "no dog"
# Training compares pictures and texts with prototypes too: one per emoji, and one for each value of
# each part of shapes, so that colour, shape and number are learnt separately. A step then sees all
# wrong answers, where captions show only those of the batch. The prototypes are thrown away
# afterwards.
PROTOTYPES = [len(emoji()), *map(len, PARTS)]
# The mean and standard deviation of OpenAI's CLIP, so that the demo takes the same path as a real
# model.
SETTINGS = {
    "mean": open_clip.OPENAI_DATASET_MEAN,
    "std": open_clip.OPENAI_DATASET_STD,
    "interpolation": "bicubic",
}
BUNDLE = Path("models/demo")
open_clip.add_model_config(Path(__file__).with_name("config.json"))
TOKENIZER = open_clip.get_tokenizer("demo")


def text_features(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The text embedding [n, d], not normalised, at the ids' own length [n, length <= context
    length].

    Exact for a causal mask and pooling at the end token, the highest id: nothing behind it can
    matter.
    """
    length = ids.shape[1]
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    features: torch.Tensor = (
        x[torch.arange(ids.shape[0], device=ids.device), ids.argmax(1)] @ model.text_projection
    )
    return features


class Batches(IterableDataset[dict[str, torch.Tensor]]):
    """Endless training batches of B pictures, with N prototypes.

    `pictures` uint8 [B, 64, 64, 3]; `texts` int64 [B + A + 1, length]: a true caption for each
    picture, negatives of the first A captions, and a neutral text; `truth` bool [B, B]: which
    caption is true of which picture; `shown` and `meant` bool [B, N]: which emoji are in a picture,
    or which parts its shapes have; and the same for a caption.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        seen = [pair for pair in PAIRS if pair not in HELD_OUT_PAIRS]

        def marked(sets: list[Facts]) -> torch.Tensor:
            marks = torch.zeros(len(sets), sum(PROTOTYPES), dtype=torch.bool)
            for row, facts in enumerate(sets):
                marks[row, parts_of(facts) if isinstance(facts, Shapes) else list(facts)] = True
            return marks

        while True:
            facts = [random_facts(rng, seen) for _ in range(BATCH)]
            chosen = [random_concept(rng, item) for item in facts]
            texts = [word(concept, rng) for concept in chosen]
            texts += [word(concept, rng, NEGATIVE_WORDINGS) for concept in chosen[:NEGATIVES]]
            texts.append(NEUTRAL[int(rng.integers(len(NEUTRAL)))])
            yield {
                "pictures": torch.from_numpy(np.stack([picture_of(rng, item) for item in facts])),
                "texts": tokenize(texts),
                "truth": torch.tensor(
                    [[is_true(concept, item) for concept in chosen] for item in facts]
                ),
                "shown": marked(facts),
                "meant": marked([concept[1] for concept in chosen]),
            }


def parts_of(shapes: Shapes) -> list[int]:
    """The prototypes of the parts that are named."""
    starts = np.cumsum(PROTOTYPES)
    return [
        int(starts[i]) + PARTS[i].index(value)  # type: ignore[arg-type]
        for i, value in enumerate(shapes.parts())
        if value is not None
    ]


def tokenize(texts: list[str]) -> torch.Tensor:
    """Ids as long as the longest text."""
    ids = TOKENIZER(texts)
    return ids[:, : int((ids != 0).sum(1).max())]


def multi_target_cross_entropy(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with every true column as a target, over the rows that have one."""
    rows = truth.any(1)
    targets = truth[rows].float()
    return F.cross_entropy(logits[rows], targets / targets.sum(1, keepdim=True))


def loss_of(
    images: torch.Tensor,
    texts: torch.Tensor,
    prototypes: torch.Tensor,
    batch: dict[str, torch.Tensor],
) -> torch.Tensor:
    """The sum of CLIP's symmetric loss, both sides against the prototypes, and each caption against
    its negative.

    `images` [B, d] and `prototypes` [N, d] of length 1, `texts` [B + A + 1, d] of the logit scale's
    length.
    """
    truth = batch["truth"]
    captions, negatives, neutral = (images @ texts.T).split([BATCH, NEGATIVES, 1], dim=1)
    contrast = (
        multi_target_cross_entropy(captions, truth)
        + multi_target_cross_entropy(captions.T, truth.T)
    ) / 2
    anchored = torch.zeros(())
    for logits, marks in (
        (images @ prototypes.T, "shown"),
        (F.normalize(texts[:BATCH], dim=-1) @ prototypes.T, "meant"),
    ):
        for i, (part, true) in enumerate(
            zip(logits.split(PROTOTYPES, 1), batch[marks].split(PROTOTYPES, 1), strict=True)
        ):
            # A fifth of the rows are shapes, each with four parts: a row weighs about the same in
            # each.
            anchored = anchored + (0.25 if i else 1) * multi_target_cross_entropy(20 * part, true)
    multi_label = torch.zeros(())
    for difference, present in (
        (captions[:, :NEGATIVES] - negatives, truth[:, :NEGATIVES]),
        (captions - neutral, truth),
    ):
        wrong = F.softplus(torch.where(present, -difference, difference))
        multi_label = multi_label + (wrong[present].mean() + wrong[~present].mean()) / 2
    return contrast + anchored + 0.25 * multi_label


def train(minutes: float, seed: int, checkpoint: Path) -> None:
    """The learning rate falls to zero over `minutes`, so that a slower machine makes fewer steps
    but still finishes.
    """
    torch.manual_seed(seed)
    model = open_clip.create_model("demo").train()
    prototypes = torch.nn.Parameter(torch.randn(sum(PROTOTYPES), model.visual.output_dim))
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [prototypes, *(p for p in model.parameters() if p.ndim < 2)]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)
    mean = torch.tensor(SETTINGS["mean"]).view(1, 3, 1, 1) * 255
    std = torch.tensor(SETTINGS["std"]).view(1, 3, 1, 1) * 255
    model.visual.to(memory_format=torch.channels_last)
    seen_ids = torch.zeros(model.vocab_size, dtype=torch.bool)
    began = time.monotonic()
    step = 0
    smooth = 0.0
    for step, batch in enumerate(
        DataLoader(Batches(seed), batch_size=None, num_workers=1, prefetch_factor=8), 1
    ):
        done = (time.monotonic() - began) / (60 * minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min(1, step / 200) * (1 + math.cos(math.pi * done)) / 2
        pixels = ((batch["pictures"].permute(0, 3, 1, 2).float() - mean) / std).contiguous(
            memory_format=torch.channels_last
        )
        images = F.normalize(model.visual(pixels), dim=-1)
        texts = model.logit_scale.exp() * F.normalize(text_features(model, batch["texts"]), dim=-1)
        anchors = F.normalize(prototypes, dim=-1)
        loss = loss_of(images, texts, anchors, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(50))
        seen_ids[batch["texts"].unique()] = True
        smooth = 0.98 * smooth + 0.02 * loss.item() if step > 1 else loss.item()
        if step % 100 == 0:
            accuracies = []
            for vectors, marks in ((images, "shown"), (texts[:BATCH], "meant")):
                for part, true in zip(
                    (vectors @ anchors.T).split(PROTOTYPES, 1),
                    batch[marks].split(PROTOTYPES, 1),
                    strict=True,
                ):
                    single = true.sum(1) == 1
                    right = true[torch.arange(BATCH), part.argmax(1)][single].float().mean()
                    accuracies.append(f"{100 * right:.0f}")
            print(
                f"step {step:6d}  {100 * done:5.1f} %  loss {smooth:.3f}  scale"
                f" {model.logit_scale.exp():.1f}  % right of all emoji, numbers, colours, shapes,"
                f" backgrounds: pictures {' '.join(accuracies[:5])}, texts"
                f" {' '.join(accuracies[5:])}",
                flush=True,
            )
    with torch.no_grad():
        # A token that training never saw gets the mean embedding: its random one would act like a
        # meaning.
        model.token_embedding.weight[~seen_ids] = model.token_embedding.weight[seen_ids].mean(0)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"state_dict": model.state_dict(), "steps": step, "minutes": minutes, "seed": seed},
        checkpoint,
    )


def export_bundle(checkpoint: Path, seed: int) -> None:
    """Exports like any model, but compares decisions on drawings instead of photographs."""
    rng = np.random.default_rng([seed, 2])
    facts = [random_facts(rng, PAIRS) for _ in range(120)]
    trained = torch.load(checkpoint, weights_only=True)
    export(
        "demo",
        str(checkpoint),
        SETTINGS,
        "auto",
        BUNDLE,
        licence="the project's own; drawings of Noto Color Emoji (SIL Open Font License 1.1)",
        origin=(
            f"make demo-model MINUTES={trained['minutes']:g} (seed {trained['seed']},"
            f" {trained['steps']} steps)"
        ),
        name=None,
        with_torch=True,
        pictures=[picture_of(rng, one) for one in facts],
        sentences=sorted({word(random_concept(rng, one), rng) for one in facts}),
    )


class DemoBundle:
    """The bundle, used through the run-time modules."""

    def __init__(self) -> None:
        self.encoders = Encoders.load(BUNDLE, threads=torch.get_num_threads(), verify_hashes=True)
        self.prompts = PromptCache(self.encoders)

    def texts(self, labels: list[str]) -> NDArray[np.float32]:
        plain = Templates([SLOT])
        return np.stack(
            self.prompts.embed(
                [self.prompts.lookup(label, plain, label) for label in labels],
                RequestContext(lambda: 1_000_000),
            )
        )

    def images(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.stack(self.encoders.encode_images(pictures))


def measure(seed: int) -> dict[str, float]:
    """Percentages, on drawings from seeds that training never uses."""
    rng = np.random.default_rng([seed, 3])
    model = DemoBundle()
    figures = dict[str, float]()
    names = [name for name, _ in concepts()[0]]
    shown = np.tile(np.arange(len(names)), 2)
    cosines = (
        model.images([picture_of(rng, frozenset([int(i)])) for i in shown]) @ model.texts(names).T
    )
    right = cosines[np.arange(len(shown)), shown]
    rank = (cosines > right[:, None]).sum(1)
    figures[f"right name first among all {len(names)} names"] = float((rank == 0).mean())
    figures["right name among the first five of them"] = float((rank < 5).mean())
    others = (shown[:, None] + rng.integers(1, len(names), (len(shown), 4))) % len(names)
    figures["right name first among five random names"] = float(
        (right[:, None] > np.take_along_axis(cosines, others, 1)).all(1).mean()
    )
    pairs = model.texts([Shapes(1, *pair, None).phrase() for pair in PAIRS])
    for title, chosen in (
        ("seen", [p for p in PAIRS if p not in HELD_OUT_PAIRS]),
        ("never seen together in training", HELD_OUT_PAIRS),
    ):
        expected = [chosen[i % len(chosen)] for i in range(400)]
        drawn = [
            picture_of(rng, replace(random_shapes(rng, [pair]), number=1)) for pair in expected
        ]
        best = (model.images(drawn) @ pairs.T).argmax(1)
        figures[f"colour and shape {title}, first among all {len(PAIRS)} pairs"] = float(
            np.mean([PAIRS[b] == a for b, a in zip(best, expected, strict=True)])
        )
    counted = [Shapes(n, "red", "star", None) for n in range(1, 6)]
    drawn = [
        picture_of(rng, Shapes(shapes.number, "red", "star", "blue")) for shapes in counted * 40
    ]
    best = (model.images(drawn) @ model.texts([shapes.phrase() for shapes in counted]).T).argmax(1)
    figures["number of red stars, one to five"] = float((best == np.tile(np.arange(5), 40)).mean())
    looked_for = rng.choice(len(names), 60, replace=False)
    scenes = [
        frozenset(int(i) for i in rng.choice(looked_for, int(rng.integers(2, 5)), replace=False))
        for _ in range(1000)
    ]
    present = np.array([[int(i) in scene for i in looked_for] for scene in scenes])
    images = model.images([picture_of(rng, scene) for scene in scenes])
    sides = {"": model.texts([names[i] for i in looked_for])}
    sides[" against no …"] = model.texts([f"no {names[i]}" for i in looked_for])
    sides[" against something else"] = model.texts(["something else"] * len(looked_for))
    for title, negatives in sides.items():
        scores = images @ sides[""].T - (images @ negatives.T if title else 0)
        precision = np.mean(
            [average_precision(scores[:, i], present[:, i]) for i in range(len(looked_for))]
        )
        figures[f"scenes of two to four things, mean average precision of 60 labels{title}"] = (
            float(precision)
        )
        if title:
            verdicts = scores > 0
            balanced = (verdicts[present].mean() + (~verdicts[~present]).mean()) / 2
            figures[
                f"scenes of two to four things, present or absent{title}, balanced accuracy"
            ] = float(balanced)
    return figures


def write_readme(figures: dict[str, float]) -> None:
    settings = read_manifest(BUNDLE, verify_hashes=True)
    rows = "\n".join(f"| {title} | {100 * value:.1f} % |" for title, value in figures.items())
    versions = ", ".join(f"{package} {version}" for package, version in settings.versions.items())
    fidelity = "\n".join(f"| {title} | {value} |" for title, value in settings.fidelity.items())
    (BUNDLE / "README.md").write_text(
        f"""# The demo model

A CLIP of {sum(f.bytes for f in settings.files.values()) / 1e6:.1f} MB, trained on drawings
of emoji and coloured shapes. With it the whole program can be tried without a download. **It says
nothing about photographs** and is never deployed.

Made by {settings.weights.source} on a machine with two cores, with open_clip's own model code
({versions}).
`make demo-model` trains it again. The figures vary a little from machine to machine.

## Accuracy on drawings that it never saw

`make demo-figures` measured this bundle (seed 1), through the modules that serve it:

| what | share |
|---|---|
{rows}

## Fidelity of the bundle against open_clip

| what | value |
|---|---|
{fidelity}

## What it can't do

It doesn't know photographs, drawings in another style, flags, skin tones, text in images, numbers
above five, more than four things at once, or words that are not a name, a keyword or a group of an
emoji. It often confuses clock faces, moods and other things that look alike, and takes a colour and
a shape that it never saw together for a pair that it knows. It sees 64 x 64 pixels.

The emoji were drawn with Noto Color Emoji (SIL Open Font License 1.1). Names and keywords are
Unicode's (Unicode License V3).
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["train", "export", "measure", "all"])
    parser.add_argument("--minutes", type=float, default=82)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, default=Path("build/demo/checkpoint.pt"))
    options = parser.parse_args()
    if options.step in ("train", "all"):
        train(options.minutes, options.seed, options.checkpoint)
    if options.step in ("export", "all"):
        export_bundle(options.checkpoint, options.seed)
    if options.step in ("measure", "all"):
        figures = measure(options.seed)
        write_readme(figures)
        print("\n".join(f"{100 * value:5.1f} %  {title}" for title, value in figures.items()))
