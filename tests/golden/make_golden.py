"""Writes open_clip's own results as golden data: `make golden`, in the export environment, after
`make demo-model`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from tests.support.images import SIZES, soft_image

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

TEXTS = [
    "a dog",
    "A Dog ",
    "two  dogs\tand a\ncat",
    "it's the dog's bone, isn't it?",
    "&lt;b&gt; bold &amp;amp; brave",
    "café naïve Ångström",
    "smörgåsbord & crème brûlée",
    "собака и кошка",
    "一只狗在草地上",
    "犬と猫",
    "개와 고양이",
    "كلب وقطة",
    "कुत्ता और बिल्ली",
    "שלום עולם",
    "สุนัขและแมว",
    "👩‍👩‍👧‍👦 family",
    "🐶🐱",
    "🇩🇪🇫🇷 flags",
    "x" * 70,
    "don't can't we'll I'd I'm you've they're",
    "3.14159 + 2 = 5,14",
    "½ ⅓ Ⅷ ①",
    "ﬁne ﬂuﬀ",
    "Ｆｕｌｌ　ｗｉｄｔｈ",
    "schÃ¶n mojibake â€™ fixed",
    "“curly” ‘quotes’ – dash — …",
    "a_b-c/d\\e|f~g`h^i",
    "#hashtag @user $5 50%",
    "zero\u200bwidth",
    "soft\u00adhyphen",
    "\u202eright to left",
    "e\u0301 combined",
    "Kelvin K and long ſ",
    "İstanbul ıI",
    "ß ẞ",
    "a\u00a0b\u2003c",
    "control \x07 bell \x1b[31m",
    "emoji ❤️ vs ❤",
    "ᚠᛇᚻ runes",
    "𝕳𝖊𝖑𝖑𝖔 𝓌𝑜𝓇𝓁𝒹",
    "\U0001f9ff\U000e0041",
    "1234567890",
    "aaaaaaaaaa bbbbbbbbb",
    "a thumbnail of a casual gaming stream",
    "a thumbnail containing real-world violent content",
    "three red stars on a blue background",
    "a photo of a cat, a type of pet.",
    "itap of the large dog.",
    "Ω≈ç√∫˜µ≤≥÷",
    "tab\tseparated\tvalues",
    "(parentheses) [brackets] {braces}",
    "l'été à la plage",
    "l’été",
    "'s 't 're 've 'm 'll 'd",
    "'S 'T 'RE",
    "rock 'n' roll",
    "&copy; &#128054; &#x1F431;",
    "&nbsp;&nbsp;dog",
]
LABELS = {
    "dog.jpg": ["a dog", "a cat", "a horse", "a car", "food"],
    "pizza.jpg": ["a pizza", "a hamburger", "a cake", "a dog", "a flower"],
    "stars.jpg": [
        "three red stars on a blue background",
        "three blue stars on a red background",
        "five red stars",
        "something else",
    ],
}
# What tests of templates and negatives need as well.
PROMPTS = [
    template.format(label) for template in ("a photo of {}", "no {}") for label in LABELS["dog.jpg"]
]


def main() -> None:
    open_clip.add_model_config(ROOT / "dev" / "demo_model" / "config.json")
    model = open_clip.create_model(
        "demo", pretrained=str(ROOT / "build" / "demo" / "checkpoint.pt")
    ).eval()
    tokenizer = open_clip.get_tokenizer("demo")
    preprocess = open_clip.image_transform(64, is_train=False)
    longest = open_clip.image_transform(64, is_train=False, resize_mode="longest")
    crops: dict[str, Any] = {
        f"{w}x{h}": _before_normalising(preprocess, soft_image(w, h)) for w, h in SIZES
    }
    crops |= {f"{w}x{h} longest": _before_normalising(longest, soft_image(w, h)) for w, h in SIZES}
    np.savez_compressed(HERE / "pixels.npz", **crops)
    tokens = {text: [i for i in tokenizer([text])[0].tolist() if i] for text in TEXTS}
    # Id 0 is padding and "!" alike: a text that holds "!" has no place in this table.
    assert all(len(ids) < 77 and "!" not in text for text, ids in tokens.items())
    _write("tokens.json", tokens)
    answers: dict[str, Any] = {"images": {}, "labels": {}}
    with torch.no_grad():
        for file, labels in LABELS.items():
            pixels = preprocess(Image.open(ROOT / "examples" / "images" / file)).unsqueeze(0)
            image = model.encode_image(pixels, normalize=True)
            texts = model.encode_text(tokenizer(labels), normalize=True)
            probabilities = (model.logit_scale.exp() * image @ texts.T).double().softmax(-1)[0]
            answers["images"][file] = {
                "embedding": image[0].tolist(),
                "result": dict(zip(labels, probabilities.tolist(), strict=True)),
            }
            answers["labels"] |= dict(zip(labels, texts.tolist(), strict=True))
        answers["labels"] |= dict(
            zip(
                PROMPTS, model.encode_text(tokenizer(PROMPTS), normalize=True).tolist(), strict=True
            )
        )
        answers["logit_scale"] = model.logit_scale.exp().item()
    _write("demo.json", answers)


def _before_normalising(preprocess: open_clip.transform.Compose, image: Image.Image) -> np.ndarray:
    """The uint8 pixels before torchvision turns them into normalised floats."""
    for step in preprocess.transforms[:-2]:
        image = step(image)
    return np.asarray(image)


def _write(name: str, value: object) -> None:
    (HERE / name).write_text(
        json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
