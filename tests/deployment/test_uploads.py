"""docs/bulk.md: an image into the bucket; its line, tags and event out."""

import json
import time

from tests.deployment.test_deploy import CLI, deploy, outputs
from tests.support.account import Account

SETTINGS = "bulk_bucket=create on_upload=examples/on_upload.json upload_tags=true"
PATTERN = {"source": ["clip-classifier"], "detail-type": ["Image Classified"]}
KEY = "images/a dog.jpg"


def test_an_upload_gets_its_line_its_tags_and_its_event(aws: Account) -> None:
    aws.run("make", "bootstrap")
    assert "It answered after" in deploy(aws, SETTINGS)
    bucket = outputs(aws)["BulkBucket"]
    # Version 1 of the command line calls SQS by an older address, unless it is told.
    sqs = (*CLI, "--endpoint-url", aws.variables["AWS_ENDPOINT_URL"], "sqs")
    queue = json.loads(aws.run(*sqs, "create-queue", "--queue-name", "events").stdout)["QueueUrl"]
    target = (*sqs, "get-queue-attributes", "--attribute-names", "QueueArn", "--queue-url", queue)
    arn = json.loads(aws.run(*target).stdout)["Attributes"]["QueueArn"]
    rule = ("--event-pattern", json.dumps(PATTERN))
    aws.run(*CLI, "events", "put-rule", "--name", "classified", *rule)
    aws.run(*CLI, "events", "put-targets", "--rule", "classified", "--targets", f"Id=1,Arn={arn}")

    aws.run(*CLI, "s3", "cp", "examples/images/dog.jpg", f"s3://{bucket}/{KEY}")
    messages: list[dict[str, str]] = []
    deadline = time.monotonic() + 120
    while not messages and time.monotonic() < deadline:
        wait = ("receive-message", "--queue-url", queue, "--wait-time-seconds", "10")
        messages = json.loads(aws.run(*sqs, *wait).stdout or "{}").get("Messages", [])
    (message,) = messages
    detail = json.loads(message["Body"])["detail"]
    assert detail["key"] == KEY
    assert max(detail["result"], key=detail["result"].get) == "dog"

    results = f"s3://{bucket}/results/"
    listed = aws.run(*CLI, "s3", "ls", "--recursive", results).stdout.splitlines()
    (name,) = [line.split()[-1] for line in listed]
    assert name.startswith("results/uploads-")
    line = json.loads(aws.run(*CLI, "s3", "cp", f"s3://{bucket}/{name}", "-").stdout)
    assert line["key"] == KEY
    assert line["result"] == detail["result"]
    tagging = ("s3api", "get-object-tagging", "--bucket", bucket, "--key", KEY)
    tags = json.loads(aws.run(*CLI, *tagging).stdout)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "clip-label": "dog",
        "clip-probability": f"{detail['result']['dog']:.4f}",
    }
