"""`image_s3` in the API, on moto."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from classifier.api.handler import Handler
from classifier.model.encoders import Encoders
from classifier.storage.bucket import Bucket
from classifier.storage.request_images import RequestImages
from tests.support.images import encoded, soft_image
from tests.support.requests import ask, base64_of, event
from tests.support.runs import BUCKET, aws, put

DOG = (Path(__file__).parent.parent.parent / "examples" / "images" / "dog.jpg").read_bytes()
LABELS = ["a dog", "a cat"]


@pytest.fixture
def s3() -> Iterator[Any]:
    with aws() as client:
        client.put_object(Bucket=BUCKET, Key="images/dog.jpg", Body=DOG)
        client.put_object(Bucket=BUCKET, Key="secret/dog.jpg", Body=DOG)
        yield client


@pytest.fixture
def stored(s3: Any, encoders: Encoders) -> Handler:
    return Handler(encoders, bucket=RequestImages(Bucket(BUCKET, "images/")))


def stored_image(key: object) -> dict[str, Any]:
    return event({"image_s3": {"key": key}, "labels": LABELS, "details": True})


def test_an_image_in_the_bucket_gets_the_answer_of_the_same_bytes(stored: Handler) -> None:
    sent = ask(stored, event({"image_data": base64_of(DOG), "labels": LABELS, "details": True}))
    assert ask(stored, stored_image("images/dog.jpg"))[:2] == sent[:2]


def test_a_photograph_larger_than_any_request_is_read(stored: Handler) -> None:
    large = encoded(soft_image(3000, 2000), "BMP")
    assert len(large) > 10_000_000
    put("images/large.bmp", large)
    status, body, _ = ask(stored, stored_image("images/large.bmp"))
    assert (status, body["image"]) == (200, {"format": "BMP", "width": 3000, "height": 2000})


@pytest.mark.parametrize(
    ("key", "status", "code", "message"),
    [
        (
            "images/none.jpg",
            404,
            "not_found",
            'There is no object "images/none.jpg" in the bucket.',
        ),
        ("secret/dog.jpg", 403, "forbidden", 'is not under "images/"'),
        ("images/../secret/dog.jpg", 404, "not_found", "There is no object"),
        ("", 400, "invalid_request", "is empty"),
        ("x" * 1025, 400, "invalid_request", "is too long"),
        (5, 400, "invalid_request", "must be a string"),
    ],
)
def test_a_key_that_cannot_be_read_is_explained(
    stored: Handler, key: object, status: int, code: str, message: str
) -> None:
    found, body, _ = ask(stored, stored_image(key))
    assert (found, body["code"], message in body["message"], body["field"]) == (
        status,
        code,
        True,
        "image_s3.key",
    )


def test_what_is_no_image_or_too_large_is_refused_as_any_other(stored: Handler) -> None:
    put("images/a.jpg", b"text")
    put("images/b.jpg", bytes(50_000_001))
    status, body, _ = ask(stored, stored_image("images/a.jpg"))
    assert (status, body["field"]) == (415, "image_s3")
    status, body, _ = ask(stored, stored_image("images/b.jpg"))
    assert (status, body["code"], "50,000,001 bytes; at most 50,000,000" in body["message"]) == (
        413,
        "too_large",
        True,
    )


def test_among_images_each_error_stays_in_its_own_entry(stored: Handler) -> None:
    images = [
        {"image_s3": {"key": key}}
        for key in ("images/dog.jpg", "images/none.jpg", "secret/dog.jpg")
    ]
    status, body, _ = ask(
        stored, event({"images": [base64_of(DOG), *images, "§"], "labels": LABELS})
    )
    assert status == 200
    first, second, *errors = body["results"]
    assert first == second
    assert [entry["error"]["code"] for entry in errors] == [
        "not_found",
        "forbidden",
        "invalid_request",
    ]
    assert [entry["error"]["field"] for entry in errors] == [
        "images.2.image_s3.key",
        "images.3.image_s3.key",
        "images.4",
    ]


def test_images_that_are_too_many_bytes_together_are_refused_before_they_are_read(
    stored: Handler,
) -> None:
    for i in range(2):
        put(f"images/{i}.jpg", bytes(31_000_000))
    images = [{"image_s3": {"key": f"images/{i}.jpg"}} for i in range(2)]
    status, body, _ = ask(stored, event({"images": images, "labels": LABELS}))
    assert (status, body["code"], "62,000,000 bytes together" in body["message"]) == (
        413,
        "too_large",
        True,
    )


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"image_s3": 5},
        {"image_s3": {"url": "x"}},
        {"image_s3": {"key": "a"}, "b": 1},
        {"key": "a"},
    ],
)
def test_an_entry_of_another_shape_is_refused(stored: Handler, entry: object) -> None:
    status, body, _ = ask(stored, event({"images": [entry], "labels": LABELS}))
    assert (status, body["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "body", [{"image_s3": {"key": "a"}}, {"images": [{"image_s3": {"key": "a"}}]}]
)
def test_a_deployment_without_a_bucket_says_so(handler: Handler, body: dict[str, Any]) -> None:
    status, answer, _ = ask(handler, event({**body, "labels": LABELS}))
    assert (status, "this deployment has no bucket" in answer["message"]) == (400, True)


def test_image_s3_stands_in_place_of_the_other_images(stored: Handler) -> None:
    both = {"image_s3": {"key": "images/dog.jpg"}, "image_data": base64_of(DOG), "labels": LABELS}
    assert "exclude each other" in ask(stored, event(both))[1]["message"]


def test_a_role_that_may_list_below_its_prefix_alone_still_tells_missing_from_forbidden(
    s3: Any, encoders: Encoders
) -> None:
    """S3 then answers 403 for both:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    bucket = Bucket(BUCKET, "images/")

    def forbid(http_response: Any, parsed: dict[str, Any], **_: object) -> None:
        if http_response.status_code == 404 or "forbidden" in str(http_response.url):
            parsed["Error"] = {"Code": "403", "Message": "Forbidden"}
            parsed["ResponseMetadata"]["HTTPStatusCode"] = http_response.status_code = 403

    for operation in ("HeadObject", "GetObject"):
        bucket.s3.meta.events.register(f"after-call.s3.{operation}", forbid)
    s3.put_object(Bucket=BUCKET, Key="images/forbidden.jpg", Body=DOG)
    handler = Handler(encoders, bucket=RequestImages(bucket))
    assert ask(handler, stored_image("images/dog.jpg"))[0] == 200
    assert ask(handler, stored_image("images/none.jpg"))[0] == 404
    status, body, _ = ask(handler, stored_image("images/forbidden.jpg"))
    assert (status, "may not be read" in body["message"]) == (403, True)
    assert bucket.get("results/none/request.json") is None


def test_boto3_is_imported_only_if_s3_is_used() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from pathlib import Path; from classifier.main import build; from"
        " classifier.start import begin; from tests.support.requests import Context, event\nimport"
        " classifier.bulk\nh = build(begin(Path('models/demo'), 1)); h(event({'labels': ['a']}),"
        " Context())\nsys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
