"""Trains the demo model on drawings."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset

from dev.demo_model.drawings import image_of
from dev.demo_model.emoji import emoji
from dev.demo_model.shapes import HELD_OUT_PAIRS, PAIRS, PARTS, Shapes
from dev.demo_model.world import (
    NEGATIVE_WORDINGS,
    NEUTRAL,
    Facts,
    is_true,
    random_concept,
    random_facts,
    word,
)

BATCH = 128
NEGATIVES = 32  # captions of a step that also get a negative, such as "no dog"
# Training compares images and texts with prototypes too: one per emoji, and one for each value of
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
    """Endless training batches of B images, with N prototypes.

    `images` uint8 [B, 64, 64, 3]; `texts` int64 [B + A + 1, length]: a true caption for each
    image, negatives of the first A captions, and a neutral text; `truth` bool [B, B]: which caption
    is true of which image; `shown` and `meant` bool [B, N]: which emoji are in an image, or which
    parts its shapes have; and the same for a caption.
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
                "images": torch.from_numpy(np.stack([image_of(rng, item) for item in facts])),
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
        pixels = ((batch["images"].permute(0, 3, 1, 2).float() - mean) / std).contiguous(
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
                f" backgrounds: images {' '.join(accuracies[:5])}, texts"
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
