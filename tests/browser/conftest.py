from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium. Its tests alone have Playwright installed."""
    from tests.support.browser import launched

    with launched() as browser:
        yield browser
