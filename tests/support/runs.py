"""Runs of the state machine on moto: its interpreter, its S3, and our function as the Lambda.

moto lacks ItemBatcher, Express children, JSON Lines, pages of a listing, tolerated failures and
redrive. Here the harness lists, cuts the batches as the definition says, gives them to moto's own
reader, and runs the failed ones again. What of that AWS alone can show is in docs/bulk.md.
"""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import boto3
import botocore.loaders
import botocore.session
from moto import mock_aws
from moto.awslambda_simple.models import lambda_simple_backends
from moto.s3.models import s3_backends

from classifier.contract.bucket_layout import MANIFESTS
from stacks.bulk.state_machine import Definition, definition
from tests.support.requests import Context

REGION = "eu-central-1"
ACCOUNT = "123456789012"
BUCKET = "pictures"
# The descriptions of services, each read once, since one takes longer to read than to use.
SERVICES = botocore.loaders.create_loader()
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:bulk"
Fault = Callable[[dict[str, Any], Callable[[], Any]], Any]


class FunctionError(Exception):
    """Lambda's answer if a function fails, by its error type."""


@contextmanager
def aws(**settings: object) -> Iterator[Any]:
    """moto with one bucket and a function's environment in its region; gives its S3 client."""
    config: Any = {
        "stepfunctions": {"execute_state_machine": True},
        "lambda": {"use_docker": False},
    }
    account = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": REGION}
    with patch.dict(os.environ, account), mock_aws(config=config):
        session = botocore.session.Session()
        session.register_component("data_loader", SERVICES)
        boto3.setup_default_session(botocore_session=session)
        s3 = boto3.client("s3", region_name=REGION)
        s3.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}, **settings
        )
        yield s3


def put(key: str, body: bytes) -> None:
    """Past the HTTP that moto takes apart, which is slow for thousands."""
    s3_backends[ACCOUNT]["aws"].put_object(BUCKET, key, body)


def keys(s3: Any, prefix: str) -> list[dict[str, Any]]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [entry for page in pages for entry in page.get("Contents", [])]


def lines(s3: Any, run: str) -> list[dict[str, Any]]:
    """Every line of a run's results."""
    found = []
    for entry in keys(s3, f"results/{run}/"):
        if entry["Key"].endswith(".jsonl"):
            text = s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read().decode()
            found += [json.loads(line) for line in text.splitlines()]
    return found


def execute(machine: dict[str, Any], given: dict[str, Any]) -> str:
    """How an execution of a state machine of this definition ends."""
    client = boto3.client("stepfunctions", region_name=REGION)
    name = f"m{time.monotonic_ns()}"
    role = f"arn:aws:iam::{ACCOUNT}:role/run"
    made = client.create_state_machine(name=name, definition=json.dumps(machine), roleArn=role)
    started = client.start_execution(
        stateMachineArn=made["stateMachineArn"], name=name, input=json.dumps(given)
    )
    deadline = time.monotonic() + 60
    while True:
        state = client.describe_execution(executionArn=started["executionArn"])
        if state["status"] != "RUNNING":
            return str(state["status"])
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass
class Machine:
    """One state machine with `handler` as its function. `faults`: by the number of a batch's first
    invocation, from 0.
    """

    s3: Any
    handler: Callable[[dict[str, Any], Any], Any]
    fault: Fault | None = None
    calls: Counter[str] = field(default_factory=Counter)
    done: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        # moto gives each Lambda backend a queue of answers alone; ours asks the handler.
        vars(lambda_simple_backends[ACCOUNT][REGION])["invoke"] = self._invoke
        self.client = boto3.client("stepfunctions", region_name=REGION)

    def _invoke(
        self,
        name: str,
        qualifier: str | None,
        body: Any,
        headers: Any,
        response_headers: dict[str, str],
    ) -> bytes:
        event = json.loads(body)
        # An environment serves one event at a time.
        with self._lock:
            identity = json.dumps(event)
            self.calls[identity] += 1
            try:

                def call() -> Any:
                    return self.handler(event, Context(60_000))

                answer = self.fault(event, call) if self.fault else call()
                self.done.add(identity)
                return json.dumps(answer).encode()
            except Exception as err:
                response_headers["x-amz-function-error"] = "Unhandled"
                kind = str(err) if isinstance(err, FunctionError) else type(err).__name__
                return json.dumps({"errorType": kind, "errorMessage": str(err)}).encode()

    def run(self, name: str, given: dict[str, Any], *, check: bool = True) -> dict[str, Any]:
        """The execution as described at its end. Batches that failed are in `failed`; `redrive`
        runs them again.
        """
        self.name = name
        self.given = given
        accepted = "prefix" in given or "manifest" in given
        self.batches = self._cut(given) if accepted or not check else []
        return self._execute(name, _runnable(self.batches), json.dumps(given))

    def redrive(self) -> dict[str, Any]:
        """The batches that didn't succeed, again, with what the first state gave."""
        self.stopping.clear()
        self.batches = self.failed()
        output = self._checked
        self._number += 1
        machine = _runnable(self.batches)
        machine["StartAt"] = "Manifest" if "manifest" in self.given else "Prefix"
        return self._execute(
            f"{self.name}-redriven-{self._number}", machine, json.dumps({"run": output})
        )

    def failed(self) -> list[list[Any]]:
        succeeded = [json.loads(identity) for identity in self.done]
        kept = [event["Items"] for event in succeeded if "Items" in event]
        return [batch for batch in self.batches if batch not in kept]

    def _execute(self, name: str, machine: Definition, given: str) -> dict[str, Any]:
        for label in ("prefix", "manifest"):
            self.s3.put_object(
                Bucket=BUCKET, Key=f"harness/{label}.json", Body=json.dumps(self.batches).encode()
            )
        role = f"arn:aws:iam::{ACCOUNT}:role/run"
        arn = self.client.create_state_machine(
            name=f"m-{name}", definition=json.dumps(machine), roleArn=role
        )["stateMachineArn"]
        execution = self.client.start_execution(stateMachineArn=arn, name=name, input=given)[
            "executionArn"
        ]
        deadline = time.monotonic() + 240
        while (state := self.client.describe_execution(executionArn=execution))[
            "status"
        ] == "RUNNING":
            assert time.monotonic() < deadline
            if self.stopping.is_set():
                self.client.stop_execution(executionArn=execution)
            time.sleep(0.05)
        for event in self.client.get_execution_history(executionArn=execution)["events"]:
            if (
                event["type"] == "TaskStateExited"
                and event["stateExitedEventDetails"]["name"] == "Check"
            ):
                self._checked = json.loads(event["stateExitedEventDetails"]["output"])["run"]
        described: dict[str, Any] = state
        return described

    def _cut(self, given: dict[str, Any]) -> list[list[Any]]:
        """As ItemReader, ItemSelector and ItemBatcher of the definition say."""
        size = int(given.get("batch_size", 100))
        items: list[Any]
        if "manifest" in given:
            assert given["manifest"].startswith(MANIFESTS)
            text = self.s3.get_object(Bucket=BUCKET, Key=given["manifest"])["Body"].read().decode()
            items = [json.loads(line) for line in text.splitlines()]
        else:
            # AWS keeps the quotation marks and writes Etag.
            found = keys(self.s3, given["prefix"])
            items = [
                {"Key": entry["Key"], "Etag": entry["ETag"], "Size": entry["Size"]}
                for entry in found
            ]
        return [items[start : start + size] for start in range(0, len(items), size)]


def _runnable(batches: list[list[Any]]) -> Definition:
    """The definition with the batches already cut, and the pauses before retries shortened."""
    text = json.dumps(definition())
    for name, value in {
        "Bucket": BUCKET,
        "Function": FUNCTION,
        "Invoke": "arn:aws:states:::lambda:invoke",
        "Partition": "aws",
    }.items():
        text = text.replace(f"${{{name}}}", value)
    machine: Definition = json.loads(text)
    for label in ("Prefix", "Manifest"):
        state = machine["States"][label]
        batcher = state.pop("ItemBatcher")
        state["ItemProcessor"]["ProcessorConfig"]["ExecutionType"] = "STANDARD"
        state["ItemReader"] = {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSON"},
            "Parameters": {"Bucket": BUCKET, "Key": f"harness/{label.lower()}.json"},
        }
        state["ItemSelector"] = {
            "Items.$": "$$.Map.Item.Value",
            "BatchInput": batcher["BatchInput"],
        }
        states = [machine["States"]["Check"], *state["ItemProcessor"]["States"].values()]
        for retry in (
            retry for task in states for retry in task["Retry"] if "IntervalSeconds" in retry
        ):
            retry |= {"MaxDelaySeconds": 2, "IntervalSeconds": 1, "BackoffRate": 1.0}
    return machine
