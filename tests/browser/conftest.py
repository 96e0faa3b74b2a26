from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from classifier.api.handler import Handler
from tests.support.browser import launched, opened
from tools.local.serve import running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser) as page:
        yield page


@pytest.fixture
def url(handler: Handler) -> Iterator[str]:
    with running(handler) as url:
        yield url
