import json
from collections.abc import Iterator
from typing import Any

import pytest

from classifier.bulk import BulkHandler
from classifier.model.encoders import Encoders
from tests.support.runs import BUCKET, aws
from tests.support.uploads import REQUEST, Bus, handler_of


@pytest.fixture
def s3() -> Iterator[Any]:
    with aws() as client:
        client.put_object(
            Bucket=BUCKET, Key="assets/request.json", Body=json.dumps(REQUEST).encode()
        )
        yield client


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def bulk(s3: Any, encoders: Encoders, bus: Bus) -> BulkHandler:
    return handler_of(encoders, bus)
