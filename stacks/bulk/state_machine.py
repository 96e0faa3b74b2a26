"""The definition of a run, in Amazon States Language:
https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html

Plain data, so that tests can run it. ${Bucket}, ${Function}, ${Invoke} (Step Functions' way to call
it) and ${Partition} are filled in by CloudFormation.
"""

from typing import Any

from classifier.contract.bucket_layout import MAP_RUNS

Definition = dict[str, Any]
# Of the function. An Express child has 300 seconds for all attempts and the pauses between them; a
# test adds them up.
TIMEOUT_S = 60
# A child's input may have 256 KiB; keys of 1,024 bytes are rare, and rarer still in numbers.
MAX_INPUT_BYTES = 200_000
_THROTTLED = {
    "ErrorEquals": ["Lambda.TooManyRequestsException"],
    "IntervalSeconds": 1,
    "BackoffRate": 2,
    "MaxAttempts": 8,
    "MaxDelaySeconds": 10,
    "JitterStrategy": "FULL",
}
_FAILED = {
    "ErrorEquals": ["States.ALL"],
    "IntervalSeconds": 1,
    "BackoffRate": 2,
    "MaxAttempts": 2,
    "JitterStrategy": "FULL",
}
_REFUSED = {"ErrorEquals": ["RunRefused"], "MaxAttempts": 0}


def definition() -> Definition:
    """Checks the input and writes it down, then maps over a prefix's objects or over a manifest's
    lines.
    """
    listed = {
        "Resource": "arn:${Partition}:states:::s3:listObjectsV2",
        "Parameters": {"Bucket": "${Bucket}", "Prefix.$": "$.run.prefix"},
    }
    # The other fields of a listing would fill the child's input.
    selected = {name: f"$$.Map.Item.Value.{name[:-2]}" for name in ("Key.$", "Etag.$", "Size.$")}
    manifest = {
        "Resource": "arn:${Partition}:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSONL"},
        "Parameters": {"Bucket": "${Bucket}", "Key.$": "$.run.manifest"},
    }
    checked = {"check.$": "$", "run.$": "$$.Execution.Name", "started.$": "$$.Execution.StartTime"}
    return {
        "Comment": "Classifies the images of a prefix or a manifest.",
        "StartAt": "Check",
        "States": {
            "Check": (
                _invoke(checked, [_REFUSED, _THROTTLED, _FAILED])
                | {
                    "ResultSelector": {"run.$": "$.Payload"},
                    "Next": "Source",
                }
            ),
            "Source": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.run.manifest", "IsString": True, "Next": "Manifest"}],
                "Default": "Prefix",
            },
            "Prefix": _map("Prefix", listed) | {"ItemSelector": selected},
            # A line that is no key is an error of its own, which selecting would make one of the
            # whole run.
            "Manifest": _map("Manifest", manifest),
        },
    }


def _invoke(payload: object, retry: list[Definition]) -> Definition:
    name = "Payload.$" if isinstance(payload, str) else "Payload"
    return {
        "Type": "Task",
        "Resource": "${Invoke}",
        "Parameters": {"FunctionName": "${Function}", name: payload},
        "TimeoutSeconds": TIMEOUT_S + 5,
        "Retry": retry,
    }


def _map(label: str, reader: Definition) -> Definition:
    counts = {f"{name}.$": f"$.Payload.{name}" for name in ("lines", "errors", "skipped")}
    return {
        "Type": "Map",
        "Label": label,
        "ItemReader": reader,
        "ItemBatcher": {
            "MaxItemsPerBatchPath": "$.run.batch_size",
            "MaxInputBytesPerBatch": MAX_INPUT_BYTES,
            "BatchInput": {"run.$": "$.run.run", "request.$": "$.run.request"},
        },
        "MaxConcurrencyPath": "$.run.max_concurrency",
        "ToleratedFailurePercentagePath": "$.run.tolerated_failure_percentage",
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
            "StartAt": f"Classify{label}",
            "States": {
                f"Classify{label}": (
                    _invoke("$", [_THROTTLED, _FAILED]) | {"ResultSelector": counts, "End": True}
                )
            },
        },
        # Without it all children's outputs would have to fit the 256 KiB of a state.
        "ResultWriter": {
            "Resource": "arn:${Partition}:states:::s3:putObject",
            "Parameters": {
                "Bucket": "${Bucket}",
                "Prefix.$": f"States.Format('{MAP_RUNS}{{}}', $$.Execution.Name)",
            },
        },
        "End": True,
    }
