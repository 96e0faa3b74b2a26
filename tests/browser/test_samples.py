import ast
import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page

from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from tests.support.encoders import CountingEncoders
from tests.support.playground import (
    DOG,
    PIZZA,
    WIDE,
    bars,
    choose,
    posts,
    replace_labels,
    settle,
    until,
)
from tests.support.requests import ROOT
from tools.local.serve import running


def test_a_large_image_is_shrunk_on_white_before_it_is_sent(
    handler: Handler, page: Page, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2400, 3600, 4), dtype=np.uint8)
    noise[:, :, 3] = 0
    Image.fromarray(noise).save(tmp_path / "clear.png")
    assert (tmp_path / "clear.png").stat().st_size > 20e6
    with running(handler) as url:
        page.goto(url)
        settle(page)
        sent = posts(page)
        choose(page, tmp_path / "clear.png")
        settle(page)
        assert (
            page.inner_text("#about")
            == "clear.png, 3600 × 2400, sent as 1536 × 1024. The model sees the square."
        )
        with Image.open(io.BytesIO(base64.b64decode(sent[0]["image_data"]))) as image:
            assert (image.format, image.size, np.asarray(image).min()) == (
                "JPEG",
                (1536, 1024),
                255,
            )


def test_the_request_runs_as_it_is_copied_in_three_languages(
    url: str, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "it's a pizza.jpg").write_bytes(PIZZA.read_bytes())
    page.goto(url)
    settle(page)
    choose(page, tmp_path / "it's a pizza.jpg")
    replace_labels(page, "a dog", 'pizza\'s "best" \\ friend', "кошка")
    settle(page)
    page.click("[data-code=json]")
    expected = json.loads(page.inner_text("#code"))["result"]
    languages: dict[str, tuple[list[str], Callable[[str], Any]]] = {
        "curl": (["bash", "-c"], lambda text: json.loads(text)["result"]),
        "python": ([sys.executable, "-c"], lambda text: ast.literal_eval(text)["result"]),
        "javascript": (
            ["node", "--input-type=module", "-e"],
            lambda text: json.loads(text)["result"],
        ),
    }
    for language, (command, read) in languages.items():
        page.click(f"[data-code={language}]")
        page.click("#copy")
        until(
            page,
            "async () => await navigator.clipboard.readText() ==="
            " document.getElementById('code').textContent",
        )
        program = page.evaluate("navigator.clipboard.readText()")
        done = subprocess.run(
            [*command, program], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert read(done.stdout) == expected, language


def test_a_samples_program_runs_in_the_projects_folder(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    program = page.inner_text("#code")
    assert "examples/images/dog.jpg" in program
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, check=False)
    assert next(iter(json.loads(done.stdout)["result"])) == "a dog"
    for kind, folder in (("drawings", "images"), ("photographs", "photographs")):
        names = page.evaluate(
            "kind => [...document.getElementById(kind).content.children].map(i => i.dataset.name)",
            kind,
        )
        assert names
        assert [name for name in names if not (ROOT / "examples" / folder / name).is_file()] == []


def test_images_are_dropped_pasted_and_photographed(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    give = """([data, kind]) => {
      const transfer = new DataTransfer();
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      transfer.items.add(new File([bytes], `${kind}.jpg`, { type: "image/jpeg" }));
      const options = { bubbles: true, cancelable: true };
      document.dispatchEvent(kind === "drop"
        ? new DragEvent("drop", { ...options, dataTransfer: transfer })
        : new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(give, [base64.b64encode(PIZZA.read_bytes()).decode(), kind])
        until(page, "kind => document.getElementById('about').textContent.startsWith(kind)", kind)
        assert next(iter(bars(page))) == "a pizza"
    assert page.get_attribute("#photo", "capture") == "environment"
    page.set_input_files("#photo", DOG)
    until(page, "document.getElementById('about').textContent.startsWith('dog.jpg')")
    assert next(iter(bars(page))) == "a dog"


def test_the_map_shows_where_the_label_that_one_points_at_is(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    choose(page, WIDE)
    settle(page)
    sent = posts(page)
    page.check("[name=regions][value='3']", force=True)
    page.wait_for_selector("#heat:not([hidden])")
    assert "image_data" in sent[0]
    assert sent[0]["regions"] == 3
    page.get_by_role("button", name="a dog", exact=True).nth(1).focus()
    assert "“a dog”" in page.inner_text("#where")
    # The dog stands at the left end.
    assert page.evaluate("document.querySelector('#overlay i').style.left") == "0%"
    page.hover("#bars li:last-child")
    last = page.inner_text("#bars li:last-child .label")
    assert f"“{last}”" in page.inner_text("#where")
    page.check("[value=each]", force=True)
    settle(page)
    page.check("#combine")
    settle(page)
    assert sent[-1]["regions_combine"] == "max"
    page.check("[name=regions][value='']", force=True)
    settle(page)
    page.fill(".entry input", "a horse")
    settle(page)
    assert "image_embedding" in sent[-1]
    assert "a horse" in sent[-1]["labels"]


def test_a_real_model_comes_with_photographs(encoders: Encoders, page: Page) -> None:
    real = CountingEncoders(encoders, model="ViT-B-32")
    with running(Handler(real)) as url:  # type: ignore[arg-type]
        page.goto(url)
        until(page, "document.getElementById('about').textContent.startsWith('cat.jpg')")
        assert "a cup of coffee" in bars(page)
        assert not page.is_visible("#demo")
