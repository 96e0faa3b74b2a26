import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from classifier.api.handler import Handler
from classifier.contract.bundle import read_manifest
from tests.support.images import encoded, soft_image
from tests.support.requests import DEMO, ROOT, ask, base64_of, event
from tools.evaluate.embeddings import Cache, Outcome, cache_key, embed

MANIFEST = read_manifest(DEMO, verify_hashes=False)
OLD_S = 1_000_000_000


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache" / "embeddings.sqlite3") as cache:
        yield cache


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    shutil.copytree(ROOT / "examples" / "images", found)
    (found / "bad.jpg").write_bytes(b"no image")
    for path in found.iterdir():
        os.utime(path, (OLD_S, OLD_S))
    return found


def outcomes(folder: Path, cache: Cache, bundle: Path = DEMO) -> dict[str, Outcome]:
    hashes, broken = cache.hashes(sorted(folder.iterdir()))
    assert not broken
    found = embed(
        bundle, MANIFEST, None, {content: path for path, content in hashes.items()}, cache, 2
    )
    return {path.name: found[content] for path, content in hashes.items()}


def test_embeddings_are_those_of_the_api_and_a_broken_file_is_an_outcome(
    folder: Path, cache: Cache, handler: Handler
) -> None:
    found = outcomes(folder, cache)
    assert "is none of JPEG" in str(found.pop("bad.jpg"))
    assert len(found) == len(list((ROOT / "examples" / "images").iterdir()))
    for name, embedding in found.items():
        request = {
            "image_data": base64_of((folder / name).read_bytes()),
            "labels": ["a"],
            "embedding": True,
        }
        assert np.array_equal(
            embedding, np.array(ask(handler, event(request))[1]["embedding"], np.float32)
        )


def test_what_was_embedded_once_needs_no_model_again_wherever_it_has_moved(
    folder: Path, cache: Cache
) -> None:
    before = outcomes(folder, cache)
    again = outcomes(folder.rename(folder.with_name("moved")), cache, Path("no bundle"))
    assert before.keys() == again.keys()
    assert all(np.array_equal(before[name], again[name]) for name in before)


def test_a_file_is_read_again_only_if_it_has_changed(tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "a.jpg"
    hashes = []
    for content, time in ((b"one", OLD_S), (b"two", OLD_S), (b"two", OLD_S + 1)):
        path.write_bytes(content)
        os.utime(path, (time, time))
        hashes.append(cache.hashes([path])[0][path])
    # The second is the same by its size and time, so nothing was read.
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_file_that_was_just_written_is_not_trusted_by_its_time(
    tmp_path: Path, cache: Cache
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    state = path.stat()
    before = cache.hashes([path])[0]
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert cache.hashes([path])[0] != before


def test_files_that_cannot_be_read_are_named(tmp_path: Path, cache: Cache) -> None:
    missing = tmp_path / "none.jpg"
    assert cache.hashes([missing]) == ({}, {missing: "can't be read: No such file or directory"})
    assert cache.hashes([]) == ({}, {})


def test_the_way_to_make_an_image_square_is_another_embedding(tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(soft_image(200, 64)))
    [content] = cache.hashes([path])[0].values()
    crop, tiles = (
        embed(DEMO, MANIFEST, fit, {content: path}, cache, 1)[content] for fit in (None, "tiles")
    )
    assert not np.allclose(np.asarray(crop), np.asarray(tiles), atol=1e-3)


def test_lasting_results_are_kept_and_the_rest_is_embedded_again(
    folder: Path, cache: Cache
) -> None:
    hashes, _ = cache.hashes(sorted(folder.iterdir()))
    files = {content: path for path, content in hashes.items()}
    first = dict(list(files.items())[:3])
    embed(DEMO, MANIFEST, None, first, cache, 1)
    assert cache.load(cache_key(MANIFEST, None), files).keys() == first.keys()
    assert embed(DEMO, MANIFEST, None, files, cache, 1).keys() == files.keys()
    assert cache.load(cache_key(MANIFEST, None), files).keys() == files.keys()
