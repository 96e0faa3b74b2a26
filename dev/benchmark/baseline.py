"""What the benchmark holds the handler against: OpenAI's method in torch, as its first users put it
behind a Lambda function.

Written from the description of openai/CLIP: fp32, prompts padded to 77 tokens, image_features and
text_features computed and then both again for the logits. Made to be measured, never to be served.
"""

import base64
import io
import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import Compose, InterpolationMode
from torchvision.transforms.functional import center_crop, normalize, resize, to_tensor

from classifier.contract.bundle import read_manifest
from classifier.model.tokenizer import Tokenizer

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Names as in OpenAI's checkpoints, so that one file of weights fits both sides."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        parts = [
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", QuickGelu()),
            ("c_proj", nn.Linear(4 * width, width)),
        ]
        self.mlp = nn.Sequential(OrderedDict[str, nn.Module](parts))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, width // 64) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x.transpose(0, 1)
        for block in self.resblocks:
            x = block(x, mask)
        return x.transpose(0, 1)


class Vision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 768, 32, 32, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(768))
        self.positional_embedding = nn.Parameter(torch.empty(50, 768))
        self.ln_pre = nn.LayerNorm(768)
        self.ln_post = nn.LayerNorm(768)
        self.transformer = Transformer(768, 12)
        self.proj = nn.Parameter(torch.empty(768, 512))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = (
            torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1)
            + self.positional_embedding
        )
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class Original(nn.Module):
    """ViT-B/32."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Vision()
        self.transformer = Transformer(512, 12)
        self.ln_final = nn.LayerNorm(512)
        self.token_embedding = nn.Embedding(49408, 512)
        self.positional_embedding = nn.Parameter(torch.empty(77, 512))
        self.text_projection = nn.Parameter(torch.empty(512, 512))
        self.logit_scale = nn.Parameter(torch.empty([]))
        self.register_buffer("mask", torch.full((77, 77), float("-inf")).triu(1), persistent=False)

    def encode_image(self, pixels: Tensor) -> Tensor:
        return _unit(self.visual(pixels))

    def encode_text(self, ids: Tensor) -> Tensor:
        x = self.ln_final(
            self.transformer(self.token_embedding(ids) + self.positional_embedding, self.mask)
        )
        return _unit(x[torch.arange(len(x)), ids.argmax(1)] @ self.text_projection)


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


class Handler:
    """The original's steps on one event; `passes` 2 as it does, 1 without the duplicate."""

    def __init__(self, bundle: Path, checkpoint: Path) -> None:
        self.model = Original().eval()
        state = torch.load(checkpoint, weights_only=True, mmap=True)
        self.model.load_state_dict(
            {key: value for key, value in state.items() if key != "attn_mask"}
        )
        self.model.float()
        self._tokenizer = Tokenizer(bundle, read_manifest(bundle, verify_hashes=False).text)
        self._prepare = Compose(
            [
                lambda image: center_crop(resize(image, 224, InterpolationMode.BICUBIC), 224),
                lambda image: image.convert("RGB"),
                to_tensor,
                lambda tensor: normalize(tensor, MEAN, STD),
            ]
        )

    def __call__(self, event: dict[str, Any], context: object, passes: int = 2) -> dict[str, Any]:
        request = json.loads(event["body"])
        pixels = self._prepare(
            Image.open(io.BytesIO(base64.b64decode(request["image_data"])))
        ).unsqueeze(0)
        rows = [self._tokenizer.encode(label) for label in request["labels"]]
        ids = torch.tensor([row + [0] * (77 - len(row)) for row in rows])
        with torch.no_grad():
            for _ in range(passes):
                images = self.model.encode_image(pixels)
                texts = self.model.encode_text(ids)
            shares = (self.model.logit_scale.exp() * images @ texts.T).softmax(-1)[0].tolist()
        return {
            "statusCode": 200,
            "body": json.dumps({"result": dict(zip(request["labels"], shares, strict=True))}),
        }


if "BENCHMARK_CHECKPOINT" in os.environ:
    handler = Handler(Path(os.environ["CLIP_BUNDLE"]), Path(os.environ["BENCHMARK_CHECKPOINT"]))
