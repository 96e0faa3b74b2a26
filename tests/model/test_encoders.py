import shutil
from pathlib import Path

import numpy as np
import pytest

from classifier.contract.bundle import FILES, MANIFEST, BundleError
from classifier.model.encoders import Encoders
from classifier.model.sessions import Sessions
from classifier.model.tokenizer import Tokenizer
from tests.support.golden import golden_demo
from tests.support.requests import DEMO

TEXTS = [
    "a dog",
    "a cat",
    "cat",
    "three red stars on a blue background",
    "a horse",
    "food",
    "a car",
    "dog",
]


@pytest.fixture(scope="module")
def token_ids(encoders: Encoders) -> list[list[int]]:
    tokenizer = Tokenizer(encoders.folder, encoders.manifest.text)
    return [tokenizer.encode(text) for text in TEXTS]


@pytest.mark.parametrize("label", sorted(golden_demo()["labels"]))
def test_text_embeddings_agree_with_open_clip(encoders: Encoders, label: str) -> None:
    ids = Tokenizer(encoders.folder, encoders.manifest.text).encode(label)
    assert float(encoders.encode_text([ids])[0] @ np.array(golden_demo()["labels"][label])) > 0.998


def test_text_embeddings_come_in_order_and_do_not_depend_on_their_batch(
    encoders: Encoders, token_ids: list[list[int]]
) -> None:
    for prompts in (token_ids, token_ids[::-1], token_ids * 5):
        for ids, embedding in zip(prompts, encoders.encode_text(prompts), strict=True):
            np.testing.assert_array_equal(embedding, encoders.encode_text([ids])[0])
            assert abs(np.linalg.norm(embedding) - 1) < 1e-6


def test_image_embeddings_come_in_order_and_do_not_depend_on_their_batch(
    encoders: Encoders,
) -> None:
    size = encoders.manifest.image.size
    squares = [*np.random.default_rng(0).integers(0, 256, (5, size, size, 3), dtype=np.uint8)]
    for square, embedding in zip(squares, encoders.encode_images(squares), strict=True):
        np.testing.assert_array_equal(embedding, encoders.encode_images([square])[0])
        assert abs(np.linalg.norm(embedding) - 1) < 1e-6


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".onnx")])
def test_a_graph_that_onnx_runtime_cannot_load_is_named(tmp_path: Path, name: str) -> None:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    graph = tmp_path / name
    graph.write_bytes(bytes(graph.stat().st_size))
    with pytest.raises(BundleError, match=rf"{name} can't be loaded.*make model"):
        Encoders.load(tmp_path, threads=1)


def test_a_text_encoder_that_is_not_needed_yet_is_loaded_once_by_its_first_use(
    encoders: Encoders,
) -> None:
    sessions = Sessions(DEMO, 1, text=False)
    lazy = Encoders.of(sessions, encoders.manifest)
    lazy.encode_images([np.zeros((encoders.manifest.image.size,) * 2 + (3,), np.uint8)])
    assert not sessions.text.started
    (row,) = lazy.encode_text([[49406, 320, 1929, 49407]])
    assert sessions.text.started
    session = sessions.text.result()
    lazy.encode_text([[49406, 320, 1929, 49407]])
    assert sessions.text.result() is session
    np.testing.assert_array_equal(row, encoders.encode_text([[49406, 320, 1929, 49407]])[0])


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"{MANIFEST} is missing"):
        Encoders.load(tmp_path, threads=1)
