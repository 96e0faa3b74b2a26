"""The playground in a real browser, on the demo model behind the local front."""

import ast
import base64
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, Route, sync_playwright

from classifier.handler import Handler
from tests.support.container import needs
from tests.support.requests import ROOT
from tools.local.gateway import Limits
from tools.local.serve import running

IMAGES = ROOT / "examples" / "images"
PIZZA, DOG, WIDE = IMAGES / "pizza.jpg", IMAGES / "dog.jpg", IMAGES / "wide.jpg"
SCREENSHOTS = ROOT / "build" / "screenshots"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
MAX_BYTES = 90_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not shutil.which("chromium"):
        needs(chromium="chromium")
    with sync_playwright() as playwright:
        # Chromium's sandbox doesn't work for root, whom installing it takes.
        options = ["--disable-background-networking", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, width: int = 1280, scheme: Any = "light") -> Iterator[Page]:
    """A page where nothing may fail, and which may ask nobody but the address that it came from."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, permissions=["clipboard-read"])
    page, problems = context.new_page(), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        # A refused request is no fault of the page; the browser reports it all the same.
        lambda line: problems.append(line.text) if line.type == "error" and "Failed to load resource" not in line.text else None,
    )
    own = ("http://127.0.0.1", "blob:", "data:")
    page.on("request", lambda request: None if request.url.startswith(own) else problems.append(request.url))
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser) as page:
        yield page


@pytest.fixture
def url(handler: Handler) -> Iterator[str]:
    with running(handler) as url:
        yield url


def until(page: Page, condition: str, argument: object = None) -> None:
    """Waits for a condition in JavaScript; Playwright's own way to wait needs what the page's security policy forbids."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def settle(page: Page) -> None:
    """Waits until an answer to the present question is shown."""
    page.wait_for_timeout(200)  # what is typed is sent once the typing pauses
    page.wait_for_selector("body:not(.working)")


def bars(page: Page) -> dict[str, float]:
    settle(page)
    rows = [row.inner_text().split("\n") for row in page.query_selector_all("#bars li")]
    return {row[0]: float(row[1].removesuffix(" %").replace("< 0.1", "0").replace("> 99.9", "100")) for row in rows}


def replace_labels(page: Page, *labels: str) -> None:
    page.click("#clear")
    for label in labels:
        page.fill(".entry input", label)
        page.press(".entry input", "Enter")


def choose(page: Page, *pictures: Path) -> None:
    page.set_input_files("#file", list(pictures))
    until(page, "name => document.getElementById('about').textContent.startsWith(name)", pictures[0].name)


def error(page: Page) -> str:
    found = page.wait_for_selector("#status.wrong, [data-error]:not([hidden])")
    assert found
    text: str = found.inner_text()
    return text


def posts(page: Page) -> list[Any]:
    """The bodies of all questions from now on."""
    bodies: list[Any] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            bodies.append(json.loads(request.post_data or ""))

    page.on("request", note)
    return bodies


def test_a_sample_is_answered_without_a_click_and_the_best_label_comes_first(url: str, page: Page) -> None:
    page.goto(url)
    page.wait_for_selector("#bars li", timeout=5000)
    shares = bars(page)
    assert next(iter(shares)) == "a dog"
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(100, abs=0.3)
    assert "trained on drawings" in page.inner_text("#demo")
    page.click("#samples button:nth-child(2)")
    until(page, "document.querySelector('#bars .first .label')?.textContent === 'a pizza'")


def test_labels_are_added_edited_pasted_and_removed_and_the_picture_is_sent_once(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    choose(page, PIZZA)
    settle(page)
    sent = posts(page)
    replace_labels(page, "a dog", "a pizza")
    assert set(bars(page)) == {"a dog", "a pizza"}
    page.type(".entry input", "a cake,")
    page.evaluate("""() => {
      const clipboardData = new DataTransfer();
      clipboardData.setData("text", "a hat, a boat\\na car");
      document.querySelector(".entry input").dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    }""")
    assert set(bars(page)) == {"a dog", "a pizza", "a cake", "a hat", "a boat", "a car"}
    page.click("text=a cake >> nth=0")
    page.fill(".entry input", "a birthday cake")
    page.press(".entry input", "Enter")
    page.get_by_role("button", name="Remove a hat").click()
    page.press(".entry input", "Backspace")
    assert set(bars(page)) == {"a dog", "a pizza", "a boat", "a car"}
    page.click("#sort")
    chips = [chip.inner_text() for chip in page.query_selector_all(".chips li button:first-child")]
    assert chips == list(bars(page))
    assert sent
    assert all("image_embedding" in body for body in sent)
    assert "picture remembered" in page.inner_text("#timing")


def test_what_is_typed_survives_the_answer_that_comes_meanwhile(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    page.type(".entry input", "a rainb")
    page.select_option("#fit", "pad", force=True)
    settle(page)
    assert page.input_value(".entry input") == "a rainb"


def test_the_three_questions_say_what_their_numbers_mean(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    assert "add up to 100" in page.inner_text("#meaning")
    page.check("[value=each]")
    assert "judged alone" in page.inner_text("#meaning")
    assert sum(bars(page).values()) != pytest.approx(100, abs=1)
    page.check("[value=categories]")
    page.click("#clear")
    page.fill(".category .name", "animals")
    page.fill(".entry input", "a dog, a cat")
    page.press(".entry input", "Enter")
    page.click("#add")
    page.fill(".category:nth-child(2) .name", "food")
    page.fill(".category:nth-child(2) .entry input", "a pizza")
    page.press(".category:nth-child(2) .entry input", "Enter")
    shares = bars(page)
    assert list(shares) == ["animals", "food"]
    assert sum(shares.values()) == pytest.approx(100, abs=0.3)


def test_many_pictures_become_a_grid_that_is_sorted_and_filtered_by_answer(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    choose(page, DOG, PIZZA, WIDE)
    until(page, "[...document.querySelectorAll('#grid span')].every((span) => span.textContent.includes('%'))")
    captions = [span.inner_text() for span in page.query_selector_all("#grid span")]
    assert len(captions) == 3
    assert captions == sorted(captions, key=lambda caption: caption.rpartition(" ")[0].rstrip("0123456789. "))
    page.select_option("#filter", "a pizza")
    assert [span.inner_text().startswith("a pizza") for span in page.query_selector_all("#grid span")] == [True]
    page.click("#grid button")
    assert next(iter(bars(page))) == "a pizza"


def test_the_squares_that_the_model_sees_are_drawn_over_the_picture_and_a_threshold_over_the_bars(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    choose(page, WIDE)
    page.click("#more summary")
    for fit, squares in (("", 1), ("tiles", 2), ("pad", 0)):
        page.select_option("#fit", fit)
        assert len(page.query_selector_all("#overlay rect:not(.shade)")) == squares
    settle(page)
    page.fill("#threshold", "30")
    assert page.locator("#bars .line:visible").count() == len(page.query_selector_all("#bars li"))
    shares = list(bars(page).values())
    assert len(page.query_selector_all("#bars .kept")) == sum(share >= 30 for share in shares)


def test_errors_are_told_in_words_for_a_person_and_mended(url: str, page: Page, tmp_path: Path) -> None:
    page.goto(url)
    settle(page)
    replace_labels(page, "Cat", "cat")
    assert error(page) == '"Cat" and "cat" are the same to the model; remove one.'
    assert page.inner_text(".chips .bad button:first-child") == "cat"
    assert page.query_selector_all("#bars li") == []
    replace_labels(page, "a dog")
    settle(page)
    assert "second label" in page.inner_text("#status")
    replace_labels(page, "a dog", "a pizza")
    assert next(iter(bars(page))) == "a dog"
    (tmp_path / "not.jpg").write_bytes(b"no picture")
    page.set_input_files("#file", tmp_path / "not.jpg")
    assert "can’t read not.jpg" in error(page)
    assert not page.is_visible("#figure")
    assert page.query_selector_all("#bars li") == []


def test_a_server_that_is_gone_is_told_apart_from_one_that_wakes_up(handler: Handler, page: Page) -> None:
    failures = 0

    def waking(event: dict[str, Any], context: Any) -> Any:
        nonlocal failures
        if event["httpMethod"] == "POST" and failures:
            failures -= 1
            raise RuntimeError("not yet")
        return handler(event, context)

    with running(waking) as url:
        page.goto(url)
        settle(page)
        failures = 1
        page.click("#samples button:nth-child(2)")
        until(page, "document.getElementById('status').textContent.includes('waking up')")
        until(page, "document.querySelector('#bars .first .label')?.textContent === 'a pizza'")
    page.click("#samples button:nth-child(3)")
    assert error(page).startswith("No connection to 127.0.0.1")


def test_a_key_is_asked_for_only_where_one_is_needed_and_kept_for_the_tab(handler: Handler, page: Page) -> None:
    with running(handler, Limits("secret")) as url:
        page.goto(url)
        assert error(page) == "This service asks for an API key."
        page.fill("#key", "guess")
        until(page, "document.querySelector('[data-error=key]').textContent.includes('accepted')")
        page.fill("#key", "secret")
        page.wait_for_selector("#bars li")
        page.reload()
        page.wait_for_selector("#bars li")
        assert "$CLIP_API_KEY" in page.inner_text("#code")
        assert "secret" not in page.inner_text("#code")
    assert page.evaluate("localStorage.length") == 0


def test_a_large_picture_is_shrunk_on_white_before_it_is_sent(handler: Handler, page: Page, tmp_path: Path) -> None:
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
        assert page.inner_text("#about") == "clear.png, 3600 × 2400, sent as 1536 × 1024"
        with Image.open(io.BytesIO(base64.b64decode(sent[0]["image_data"]))) as image:
            assert (image.format, image.size, np.asarray(image).min()) == ("JPEG", (1536, 1024), 255)


def test_the_request_runs_as_it_is_copied_in_three_languages(url: str, page: Page, tmp_path: Path) -> None:
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
        "python": ([sys.executable, "-c"], ast.literal_eval),
        "javascript": (["node", "--input-type=module", "-e"], json.loads),
    }
    for language, (command, read) in languages.items():
        page.click(f"[data-code={language}]")
        program = page.text_content("#code") or ""
        done = subprocess.run([*command, program], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert read(done.stdout) == expected, language


def test_sets_of_labels_are_exported_and_imported(url: str, page: Page, tmp_path: Path) -> None:
    page.goto(url)
    settle(page)
    page.click("#sets summary")
    page.get_by_role("button", name="Moderation").click()
    moderation = set(bars(page))
    assert len(moderation) == 7
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(tmp_path / "labels.json")
    page.get_by_role("button", name="Animals").click()
    assert "a dog" in bars(page)
    page.set_input_files("#set-file", tmp_path / "labels.json")
    assert set(bars(page)) == moderation
    (tmp_path / "none.json").write_text("[]")
    page.set_input_files("#set-file", tmp_path / "none.json")
    assert "no set of labels" in error(page)


@pytest.mark.parametrize("path", ["prod", "prod/"])
def test_the_page_works_below_a_stage_with_and_without_a_slash(url: str, page: Page, path: str) -> None:
    def without_stage(route: Route) -> None:
        route.fulfill(response=route.fetch(url=url + route.request.url.removeprefix(url).removeprefix("prod").removeprefix("/")))

    page.route("**/prod**", without_stage)
    page.goto(url + path)
    assert next(iter(bars(page))) == "a dog"
    assert page.evaluate("document.getElementById('openapi').href").endswith("/prod/openapi.json")


LABELS = ["עברית", "كلب على العشب", "x" * 300, "a " + "very " * 12 + "long label", *(f"thing number {i}" for i in range(996))]


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
    assert float(page.get_attribute("#overlay rect", "x") or "nan") == 0
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


def test_a_real_model_comes_with_photographs(url: str, page: Page) -> None:
    def real(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, headers={**response.headers, "x-model": "ViT-B-32"})

    page.route(url, real)
    page.goto(url)
    until(page, "document.getElementById('about').textContent.startsWith('cat.jpg')")
    assert "a cup of coffee" in bars(page)
    assert not page.is_visible("#demo")


def test_the_memory_of_the_tab_stays_flat_over_200_pictures(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")

    def used() -> dict[str, float]:
        devtools.send("HeapProfiler.collectGarbage")
        metrics = {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}
        return {name: metrics[name] for name in ("JSHeapUsedSize", "Nodes", "JSEventListeners")}

    def take(count: int) -> None:
        for i in range(count):
            page.evaluate("number => document.querySelectorAll('#samples button')[number].click()", i % 3)
            shown = "name => document.getElementById('about').textContent.startsWith(name) && !document.body.classList.contains('working')"
            until(page, shown, ("dog.jpg", "pizza.jpg", "stars.jpg")[i % 3])

    take(20)
    before = used()
    take(200)
    after = used()
    assert after["JSHeapUsedSize"] - before["JSHeapUsedSize"] < 1e6
    assert after["Nodes"] - before["Nodes"] < 200


def test_64_pictures_are_answered(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    page.set_input_files("#file", [DOG, PIZZA] * 33)
    until(page, "document.getElementById('count').textContent === '64 pictures'")
    until(page, "[...document.querySelectorAll('#grid span')].every((span) => span.textContent.includes('%'))")
    assert "first 64 of 66" in error(page)


def test_ctrl_enter_asks_and_reduced_motion_moves_nothing(url: str, browser: Browser) -> None:
    with opened(browser) as page:
        page.emulate_media(reduced_motion="reduce")
        page.goto(url)
        settle(page)
        sent = posts(page)
        page.focus("#choose")
        page.keyboard.press("Control+Enter")
        until(page, "document.getAnimations().length === 0")
        settle(page)
        assert len(sent) == 1


def inspect(page: Page, state: str) -> None:
    """Keeps a screenshot; nothing may be wider than the window, and axe may find nothing."""
    settle(page)
    page.wait_for_timeout(300)  # bars move for 250 ms
    assert page.viewport_size
    width = page.viewport_size["width"]
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    scheme = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    page.screenshot(path=SCREENSHOTS / f"{state}-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    if page.evaluate("!window.axe"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    violations = page.evaluate(
        "async () => (await axe.run()).violations.map((rule) => [rule.id, rule.nodes.map((node) => node.html)])"
    )
    assert violations == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_every_state_fits_and_axe_finds_nothing(
    handler: Handler, browser: Browser, width: int, scheme: str, tmp_path: Path
) -> None:
    (tmp_path / "not.jpg").write_bytes(b"no picture")
    with opened(browser, width, scheme) as page:
        with running(handler) as url:
            page.goto(url)
            page.wait_for_selector("#bars li")
            inspect(page, "opened")
            page.check("[name=regions][value='3']", force=True)
            page.wait_for_selector("#heat:not([hidden])")
            inspect(page, "map")
            page.check("[name=regions][value='']", force=True)
            page.check("[value=categories]", force=True)
            page.click("#sets summary")
            page.get_by_role("button", name="Moderation").click()
            inspect(page, "categories")
            page.click("#sets summary")
            page.check("[value=each]", force=True)
            choose(page, WIDE, DOG, PIZZA, IMAGES / "stars.jpg", WIDE, DOG, PIZZA)
            page.click("#more summary")
            page.fill("#threshold", "30")
            page.select_option("#fit", "tiles")
            until(page, "[...document.querySelectorAll('#grid span')].every((span) => span.textContent.includes('%'))")
            inspect(page, "many")
            page.click("#more summary")
            page.set_input_files(
                "#set-file",
                {"name": "set.json", "mimeType": "application/json", "buffer": json.dumps({"labels": LABELS}).encode()},
            )
            until(page, "document.getElementById('all').textContent.includes('1000')")
            inspect(page, "labels")
            replace_labels(page, "Cat", "cat", "a dog")
            assert "the same to the model" in error(page)
            inspect(page, "refused")
            page.set_input_files("#file", tmp_path / "not.jpg")
            assert "read not.jpg" in error(page)
            inspect(page, "empty")
        page.click("#samples button:nth-child(3)")
        assert "No connection" in error(page)
        inspect(page, "gone")


def test_the_page_is_small_and_its_policy_allows_its_own_script_alone(url: str, browser: Browser) -> None:
    page = browser.new_page()
    response = page.goto(url)
    assert response
    assert len(response.body()) <= MAX_BYTES
    assert "unsafe" not in response.headers["content-security-policy"]
    page.evaluate(
        "() => { const script = document.createElement('script'); script.textContent = 'window.injected = 1'; document.body.append(script); }"
    )
    assert page.evaluate("window.injected") is None
    page.close()
