"""Text towers of every kind equal open_clip's, with random weights."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import open_clip
import pytest
import torch
import transformers
from open_clip.hf_model import HFTextEncoder

from export.graphs.model_file import calibrate
from export.graphs.text_inputs import run_inputs
from export.graphs.towers import distinct_rows, write_encoder
from export.judging import forward
from export.sources.architecture import Architecture
from export.sources.open_clip_models import describe, model_config
from export.sources.source import Source, read_table
from export.sources.torch_source import arrays
from tests.support.hub import ROOT

SETTINGS = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
# One of every kind of text tower: without a causal mask, with GELU's approximation, pooled at the
# last position, an end token or a class token, projected with a bias or not at all.
TEXTS = (
    "MobileCLIP2-S0",
    "PE-Core-T-16-384",
    "ViT-B-16-SigLIP",
    "ViT-B-32-SigLIP2-256",
    "ViT-SO400M-16-SigLIP-i18n-256",
    "ViT-L-14-CLIPA",
    "ViT-L-14-worldwide",
    "ViT-H-14-worldwide-quickgelu",
    "coca_ViT-B-32",
)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_tower_equals_open_clips_at_the_length_that_it_serves(
    name: str, tmp_path: Path
) -> None:
    config = model_config(name)
    text = config["text_cfg"] | {"layers": 2, "vocab_size": 1000, "output_tokens": False}
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(
        config["embed_dim"], vision, text, quick_gelu=config.get("quick_gelu", False)
    ).eval()
    for parameter in model.parameters():
        if parameter.ndim <= 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    architecture = describe(name, model)
    listed = Architecture.model_validate(read_table()["architectures"][name])
    assert architecture.text == listed.text.model_copy(update={"layers": 2, "vocabulary": 1000})
    source = Source(name, architecture, arrays(model), SETTINGS, None, "none")  # type: ignore[arg-type]
    write_encoder(source, "text", "fp32", tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx")
    rng = np.random.default_rng(0)
    end = architecture.text.eos_id or 999
    longest = architecture.text.context_length - 2
    texts = [[998, *rng.integers(6, 998, count).tolist(), end] for count in (1, 2, 7, 20, longest)]
    # The id that CLIP's texts are filled with is a word too, behind which CoCa's mask hides one.
    texts.append([998, 0, 7, 0, 0, 8, end])
    embed_cls = architecture.text.embed_cls
    pad = 0 if architecture.text.pool == "argmax" or embed_cls else 1
    for ids in texts:
        padded = ids + [pad] * (architecture.text.context_length + embed_cls - len(ids))
        with torch.inference_mode():
            expected = model.encode_text(torch.tensor([padded]), normalize=True).numpy()
        served = ids if architecture.text.causal else padded
        got = session.run(["embeddings"], run_inputs(source, [served]))[0]
        checked = forward.embed_texts(architecture, source.arrays, [ids], pad)
        for rows in (got, checked):
            assert (expected * rows).sum() > 0.99999
            assert np.abs(expected - rows).max() < 1e-4


@pytest.mark.parametrize("name", ["xlm-roberta-base-ViT-B-32", "nllb-clip-base-siglip"])
def test_a_text_tower_of_hugging_face_equals_open_clips_at_a_texts_own_length(
    name: str, tmp_path: Path
) -> None:
    listed = Architecture.model_validate(read_table()["architectures"][name])
    text = listed.text.model_copy(
        update={"layers": 2, "width": 128, "heads": 2, "hidden": 256, "vocabulary": 1000}
    )
    if text.names == "roberta":
        config: Any = transformers.XLMRobertaConfig(
            vocab_size=1000,
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=256,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
        )
    else:
        config = transformers.M2M100Config(
            vocab_size=1000,
            d_model=128,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            encoder_ffn_dim=256,
            scale_embedding=True,
        )
    torch.manual_seed(0)
    pooler = "mean_pooler" if text.pool == "mean" else "cls_pooler"
    projection = "mlp" if text.projection == "mlp" else "linear"
    model = HFTextEncoder("", 64, config, pooler, projection).eval()
    if text.names == "m2m_100":
        model.transformer = model.transformer.encoder
    elif text.pool == "mean":
        model.transformer.pooler = None
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    state = {key: tensor.float().numpy() for key, tensor in model.state_dict().items()}
    architecture = Architecture(image=listed.image, text=text, dimension=64)
    assert text.text_shapes(64) == {key: value.shape for key, value in state.items()}
    source = Source(name, architecture, state, SETTINGS, None, "none")  # type: ignore[arg-type]
    write_encoder(source, "text", "fp32", tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx")
    rng = np.random.default_rng(0)
    for count in (1, 2, 9, 40):
        ids = [0, *rng.integers(6, 998, count).tolist(), 2]
        padded = ids + [1] * (77 - len(ids))
        with torch.inference_mode():
            expected = torch.nn.functional.normalize(model(torch.tensor([padded])), dim=-1).numpy()
        got = session.run(["embeddings"], run_inputs(source, [ids]))[0]
        for rows in (got, forward.embed_texts(architecture, state, [ids], 1)):
            assert (expected * rows).sum() > 0.99999
            assert np.abs(expected - rows).max() < 1e-4


@pytest.mark.parametrize(("step", "least"), [("int8", 0.99), ("int14", 0.999)])
def test_a_class_token_is_pooled_in_fewer_bits_too(step: str, least: float, tmp_path: Path) -> None:
    """By the attention that has 8-bit products inside, and by the one that hasn't."""
    listed = Architecture.model_validate(read_table()["architectures"]["coca_ViT-B-32"])
    sizes = {"layers": 2, "width": 128, "heads": 2, "hidden": 256, "vocabulary": 1000}
    text = listed.text.model_copy(update=sizes)
    architecture = listed.model_copy(update={"text": text})
    rng = np.random.default_rng(0)
    state = {
        name: (rng.standard_normal(shape) * 0.05 + name.endswith("weight") * (len(shape) == 1))
        for name, shape in text.text_shapes(listed.dimension).items()
    }
    weights = {name: value.astype(np.float32) for name, value in state.items()}
    source = Source("coca", architecture, weights, SETTINGS, None, "none")  # type: ignore[arg-type]
    inputs = write_encoder(source, "text", "fp32", tmp_path)
    texts = [{"ids": rng.integers(0, 1000, (4, length))} for length in (5, 9, 75)]
    exact = [
        onnxruntime.InferenceSession(tmp_path / "text.onnx").run(None, ids)[0] for ids in texts
    ]
    statistics = calibrate(tmp_path / "text.onnx", inputs, texts)
    write_encoder(source, "text", step, tmp_path, statistics)
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx")
    for ids, expected in zip(texts, exact, strict=True):
        got = session.run(None, ids)[0]
        assert (got * expected).sum(1).min() > least
        alone = [session.run(None, {"ids": row[None]})[0][0] for row in ids["ids"]]
        np.testing.assert_array_equal(got, alone)


LOAD = """import json, re, sys
from pathlib import Path
import numpy as np
from classifier.model.sessions import LazySession

def megabytes():
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"Anonymous: *([0-9]+)", text)[1]) / 1000

before = megabytes()
session = LazySession(Path(sys.argv[1]), 1).result()
loaded = megabytes()
session.run(None, {"ids": np.arange(7, 100_000, 9_000)[None]})
print(json.dumps([loaded - before, megabytes() - before]))"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says what memory is a file's")
@pytest.mark.parametrize(("step", "table"), [("fp32", 102.4), ("int8", 25.6)])
def test_a_table_of_embeddings_stays_in_its_file(step: str, table: float, tmp_path: Path) -> None:
    """`table`: its size in MB. A copy of it would be memory that is no file's."""
    listed = Architecture.model_validate(read_table()["architectures"]["ViT-B-32-SigLIP2-256"])
    sizes = {"layers": 1, "width": 256, "heads": 4, "hidden": 512, "vocabulary": 100_000}
    text = listed.text.model_copy(update=sizes)
    architecture = Architecture(image=listed.image, text=text, dimension=256)
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape, dtype=np.float32)
        for name, shape in text.text_shapes(256).items()
    }
    source = Source("table", architecture, weights, SETTINGS, None, "none")  # type: ignore[arg-type]
    write_encoder(source, "text", step, tmp_path)
    assert (tmp_path / "text.weights").stat().st_size > 1e6 * table
    environment = os.environ | {"PYTHONPATH": str(ROOT / "lambdas")}
    command = [sys.executable, "-c", LOAD, str(tmp_path / "text.onnx")]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded, after_a_run = json.loads(printed.stdout)
    assert 0 < loaded < after_a_run < table / 2


def test_equal_rows_of_a_table_are_found_without_sorting_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 16)).astype(np.float32)
    table = rows[rng.integers(300, size=9000)]
    found, index = distinct_rows(table)
    assert len(found) == len(np.unique(table, axis=0))
    np.testing.assert_array_equal(found[index], table)
