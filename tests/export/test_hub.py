import subprocess
import time
from pathlib import Path

import pytest

from tests.support.hub import COMMIT, CONTENT, FILE, REPOSITORY, Hub, run, serving

FETCH = """
import sys
from export.errors import ExportError
from export.sources.hub import fetch
revision, accepted = (argument or None for argument in sys.argv[1:])
try:
    say = lambda text: print(text, file=sys.stderr)
    print(fetch({repository!r}, ["absent.safetensors", {file!r}], revision, None, accepted, say))
except ExportError as err:
    sys.exit(f"error: {{err}}")
"""


def fetch(
    hub: Hub, folder: Path, revision: str = "", accepted: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    code = FETCH.format(repository=REPOSITORY, file=FILE)
    return run(
        ["-c", code, revision, accepted],
        folder,
        f"http://127.0.0.1:{hub.server_address[1]}",
        **variables,
    )


def check_refused(done: subprocess.CompletedProcess[str], message: str, folder: Path) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [
        blob for blob in folder.glob("cache/hub/*/blobs/*") if blob.stat().st_size >= len(CONTENT)
    ] == []


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("missing", f"has none of absent.safetensors, {FILE}"),
        ("changed", "wrong sha256 and was deleted"),
        ("gated", "HF_TOKEN"),
        ("dead", "the next run starts this file over"),
    ],
)
def test_a_download_that_fails_is_told_and_leaves_nothing(
    hub: Hub, trouble: str, message: str, tmp_path: Path
) -> None:
    hub.trouble = trouble
    check_refused(fetch(hub, tmp_path), message, tmp_path)


def test_a_connection_that_breaks_again_and_again_is_resumed_where_it_broke(tmp_path: Path) -> None:
    # The client writes in steps of 10 MiB: a shorter piece is fetched again.
    step = 10 * 2**20
    for hub in serving(Hub(bytes(44 * 2**20))):
        hub.trouble = "cut"
        done = fetch(hub, tmp_path)
        assert done.returncode == 0, done.stderr
        assert hub.sha256 in done.stdout
        ranges = [request.partition("bytes=")[2] for request in hub.requests if "bytes=" in request]
        assert ranges == [f"{i * step}-" for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "card", ["license: apache-2.0", "license: other\nlicense_name: apple-amlr"]
)
def test_a_card_with_another_licence_than_the_table_is_told(card: str, tmp_path: Path) -> None:
    on_card = card.rpartition(" ")[2]
    for hub in serving(Hub(CONTENT, card)):
        told = f"{REPOSITORY}: the card says {on_card}, the table mit: the table of `make models`"
        # Also if the licence then stops it.
        assert told in fetch(hub, tmp_path).stderr


def test_a_card_that_agrees_with_the_table_or_lacks_a_licence_is_no_news(tmp_path: Path) -> None:
    for number, card in enumerate(("license: mit", "language: en")):
        for hub in serving(Hub(CONTENT, card)):
            done = fetch(hub, tmp_path / str(number))
            assert done.returncode == 0 and "the card says" not in done.stderr
    for hub in serving(Hub(CONTENT, "license: mit", "laion/not-in-the-table")):
        code = FETCH.format(repository="laion/not-in-the-table", file=FILE)
        address = f"http://127.0.0.1:{hub.server_address[1]}"
        done = run(["-c", code, "", ""], tmp_path / "other", address)
        assert done.returncode == 0 and "the card says" not in done.stderr


def test_a_hub_that_cannot_be_reached_is_told_within_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    done = run(
        ["-c", FETCH.format(repository=REPOSITORY, file=FILE), "", ""],
        tmp_path,
        "http://127.0.0.1:9",
    )
    assert time.monotonic() - started < 15
    check_refused(done, "The hub can't be reached and the weights are not in the cache", tmp_path)
    assert "HF_HUB_DISABLE_XET" in done.stderr


def test_without_a_network_the_cache_gives_weights_revision_and_licence(
    hub: Hub, tmp_path: Path
) -> None:
    assert fetch(hub, tmp_path).returncode == 0
    done = run(
        ["-c", FETCH.format(repository=REPOSITORY, file=FILE), "", ""],
        tmp_path,
        "http://127.0.0.1:9",
    )
    assert done.returncode == 0, done.stderr
    assert f"revision='{COMMIT}'" in done.stdout
    assert "licence='mit'" in done.stdout


def test_a_revision_is_pinned_and_an_unknown_one_is_refused(hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path, revision=COMMIT).returncode == 0
    check_refused(
        fetch(hub, tmp_path / "other", revision="abc"), "has no revision abc", tmp_path / "other"
    )


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("license: other\nlicense_name: apple-amlr", "apple-amlr"),
        ("license: cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("license: other", "other"),
    ],
)
def test_a_licence_that_limits_use_is_accepted_by_name_before_the_download(
    card: str, licence: str, tmp_path: Path
) -> None:
    for hub in serving(Hub(CONTENT, card)):
        check_refused(fetch(hub, tmp_path), f"ACCEPT_LICENCE={licence}", tmp_path)
        check_refused(fetch(hub, tmp_path, accepted="mit"), f"ACCEPT_LICENCE={licence}", tmp_path)
        assert [request for request in hub.requests if FILE in request] == []
        done = fetch(hub, tmp_path, accepted=licence)
        assert f"licence='{licence}'" in done.stdout, done.stderr
        # The cached card asks again if there is no network.
        offline = run(
            ["-c", FETCH.format(repository=REPOSITORY, file=FILE), "", ""],
            tmp_path,
            "http://127.0.0.1:9",
        )
        assert f"ACCEPT_LICENCE={licence}" in offline.stderr
