from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

from classifier.api.handler import Handler
from classifier.contract.classifiers.file import parse_classifier
from classifier.model.encoders import Encoders
from tests.support.browser import opened
from tests.support.playground import (
    DOG,
    FILES,
    IMAGES,
    PIZZA,
    WIDE,
    bars,
    choose,
    error,
    import_set,
    posts,
    replace_labels,
    settle,
    until,
    until_answered,
)
from tests.support.requests import ROOT
from tools.local.serve import running

SCREENSHOTS = ROOT / "build" / "screenshots"


AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"


MAX_BYTES = 92_500


def test_the_keyboard_alone_is_enough_and_results_are_announced(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)

    def tab_to(selector: str) -> None:
        for _ in range(40):
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(selector)

    tab_to("#samples button:nth-child(2)")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('announce').textContent.startsWith('a pizza, ')")
    assert page.get_attribute("#announce", "role") == "status"
    tab_to("[name=mode]")
    page.keyboard.press("ArrowRight")
    assert page.is_checked("[value=each]")
    tab_to(".entry input")
    page.keyboard.type("a cake,")
    assert "a cake" in bars(page)
    assert page.evaluate("document.activeElement.matches('.entry input')")
    tab_to("[role=tab]")
    page.keyboard.press("ArrowRight")
    assert "urllib" in page.inner_text("#code")


@pytest.mark.parametrize("path", ["prod", "prod/"])
def test_the_page_works_below_a_stage_with_and_without_a_slash(
    url: str, page: Page, path: str
) -> None:
    def without_stage(route: Route) -> None:
        route.fulfill(
            response=route.fetch(
                url=url + route.request.url.removeprefix(url).removeprefix("prod").removeprefix("/")
            )
        )

    page.route("**/prod**", without_stage)
    page.goto(url + path)
    assert next(iter(bars(page))) == "a dog"
    assert page.evaluate("document.getElementById('openapi').href").endswith("/prod/openapi.json")


LABELS = [
    "עברית",
    "كلب على العشب",
    "x" * 300,
    "a " + "very " * 12 + "long label",
    *(f"thing number {i}" for i in range(996)),
]


def test_the_memory_of_the_tab_stays_flat_over_200_images(url: str, page: Page) -> None:
    page.goto(url)
    settle(page)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")

    def used() -> dict[str, float]:
        devtools.send("HeapProfiler.collectGarbage")
        metrics = {
            metric["name"]: metric["value"]
            for metric in devtools.send("Performance.getMetrics")["metrics"]
        }
        return {name: metrics[name] for name in ("JSHeapUsedSize", "Nodes", "JSEventListeners")}

    def take(count: int) -> None:
        for i in range(count):
            page.evaluate(
                "number => document.querySelectorAll('#samples button')[number].click()", i % 3
            )
            shown = (
                "name => document.getElementById('about').textContent.startsWith(name) &&"
                " !document.body.classList.contains('working')"
            )
            until(page, shown, ("dog.jpg", "pizza.jpg", "stars.jpg")[i % 3])

    take(20)
    before = used()
    take(200)
    after = used()
    assert after["JSHeapUsedSize"] - before["JSHeapUsedSize"] < 1e6
    assert after["Nodes"] - before["Nodes"] < 200


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


def inspect(page: Page, state: str, *, working: bool = False) -> None:
    """Keeps a screenshot; nothing may be wider than the window, and axe may find nothing."""
    if not working:
        settle(page)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(300)  # bars move for 250 ms
    assert page.viewport_size
    width = page.viewport_size["width"]
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    scheme = (
        "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    )
    page.screenshot(path=SCREENSHOTS / f"{state}-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    if page.evaluate("!window.axe"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    violations = page.evaluate(
        "async () => (await axe.run()).violations.map((rule) => [rule.id, rule.nodes.map((node) =>"
        " node.html)])"
    )
    assert violations == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_every_state_fits_and_axe_finds_nothing(
    encoders: Encoders, browser: Browser, width: int, scheme: str, tmp_path: Path
) -> None:
    (tmp_path / "not.jpg").write_bytes(b"no image")
    handler = Handler(
        encoders,
        classifiers={"drawings": parse_classifier(FILES[0]), "pets": parse_classifier(FILES[2])},
    )
    with opened(browser, width, scheme) as page, running(handler) as url:
        page.goto(url)
        page.wait_for_selector("#bars li")
        inspect(page, "opened")
        # The best label is on the first screen.
        assert page.evaluate(
            "document.querySelector('#bars .first').getBoundingClientRect().bottom"
        ) < (640 if width < 700 else 800)
        page.check("[name=regions][value='3']", force=True)
        page.wait_for_selector("#heat:not([hidden])")
        inspect(page, "map")
        page.check("[name=regions][value='']", force=True)
        page.click("#sets summary")
        page.get_by_role("button", name="pets").click()
        page.wait_for_selector("#verdict strong")
        inspect(page, "decision")
        page.get_by_role("button", name="Moderation").click()
        page.click("#sets summary")
        inspect(page, "categories")
        page.check("[value=each]", force=True)
        replace_labels(
            page, "a dog", "a pizza", "three red stars on a blue background", "something else"
        )
        choose(page, WIDE, DOG, PIZZA, IMAGES / "stars.jpg", WIDE, DOG, PIZZA)
        page.click("#more summary")
        page.fill("#threshold", "30")
        page.select_option("#fit", "tiles")
        until_answered(page, 7)
        inspect(page, "many")
        page.click("#more summary")
        import_set(page, {"labels": LABELS})
        until(page, "document.getElementById('all').textContent.includes('1000')")
        inspect(page, "labels")
        assert (
            page.evaluate("getComputedStyle(document.querySelector('.chips span')).direction")
            == "rtl"
        )
        replace_labels(page, "Cat", "cat", "a dog")
        assert "the same to the model" in error(page)
        inspect(page, "refused")
        page.set_input_files("#file", tmp_path / "not.jpg")
        page.wait_for_selector("[data-error=image_data]")
        assert "read not.jpg" in page.inner_text("[data-error=image_data]")
        inspect(page, "empty")
        page.route(
            "**/*",
            lambda route: route.abort() if route.request.method == "POST" else route.continue_(),
        )
        page.click("#samples button:nth-child(3)")
        page.wait_for_selector("#status.wrong")
        assert page.is_visible(".chips .bad")
        inspect(page, "gone")
        page.unroute("**/*")
        held: list[Route] = []
        page.route(
            "**/*",
            lambda route: (
                held.append(route) if route.request.method == "POST" else route.continue_()
            ),
        )
        replace_labels(page, "a dog", "three stars")
        page.wait_for_selector("body.working")
        page.wait_for_timeout(1500)
        inspect(page, "working", working=True)
        list(map(Route.abort, held))  # or they fail whichever test they are collected in


def test_the_page_is_small_and_its_policy_allows_its_own_script_alone(
    url: str, browser: Browser
) -> None:
    page = browser.new_page()
    response = page.goto(url)
    assert response
    assert len(response.body()) <= MAX_BYTES
    assert "unsafe" not in response.headers["content-security-policy"]
    page.evaluate(
        "() => { const script = document.createElement('script'); script.textContent ="
        " 'window.injected = 1'; document.body.append(script); }"
    )
    assert page.evaluate("window.injected") is None
    page.close()
