from dataclasses import dataclass
from pathlib import Path

import pytest

from classifier.clip import Clip
from classifier.handler import Handler

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "models" / "demo"


@dataclass
class Context:
    """Stands in for Lambda's context: a request with so many milliseconds left."""

    left: int = 29_000
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return self.left


@pytest.fixture(scope="session")
def clip() -> Clip:
    return Clip.load(DEMO, threads=2, hashes=True)


@pytest.fixture
def handler(clip: Clip) -> Handler:
    return Handler(clip)
