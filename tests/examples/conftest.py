import pytest

import client


@pytest.fixture
def waits() -> list[float]:
    """The seconds that `backoff` would have waited."""
    return []


@pytest.fixture
def backoff(waits: list[float]) -> type[client.Backoff]:
    """Records waits instead of waiting."""

    class RecordingBackoff(client.Backoff):
        wait = staticmethod(waits.append)

    return RecordingBackoff
