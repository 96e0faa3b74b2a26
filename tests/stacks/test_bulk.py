import json
import re
from typing import Any

import pytest

from stacks.bulk.state_machine import TIMEOUT_S, definition
from stacks.settings.bulk import OWN_PREFIXES
from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError
from tests.support.requests import ROOT
from tests.support.synthesis import BULK, UPLOADS, Synth, Synthesized

EXISTING = {
    "bulk_bucket": "our-pictures",
    "bulk_key": "arn:aws:kms:eu-central-1:123456789012:key/0a1b",
}
OURS = (
    "StepFunctions::StateMachine",
    "SQS::Queue",
    "Events::Rule",
    "S3::Bucket",
    "Lambda::EventSourceMapping",
)


def function(made: Synthesized) -> dict[str, Any]:
    (found,) = [one for one in made.all("Lambda::Function") if one.get("ImageConfig")]
    return found


def granted(made: Synthesized, role: str) -> list[tuple[str, str]]:
    """Each action with its resource, as text, of every role whose name has `role` in it."""
    found = []
    for policy in made.all("IAM::Policy"):
        if any(re.fullmatch(rf"{role}[0-9A-F]{{8}}", entry["Ref"]) for entry in policy["Roles"]):
            for one in policy["PolicyDocument"]["Statement"]:
                assert one["Effect"] == "Allow"
                for action in [one["Action"]] if isinstance(one["Action"], str) else one["Action"]:
                    for resource in (
                        one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]]
                    ):
                        found.append((action, json.dumps(resource)))
    return found


def objects(grants: list[tuple[str, str]], *actions: str) -> set[str]:
    """The keys of the bucket that the actions are granted on."""
    return {
        text.rpartition('"/')[2].partition('"')[0]
        for action, text in grants
        if action in actions and '"/' in text
    }


def test_without_a_bucket_there_is_one_function_and_nothing_of_runs_or_uploads(
    synth: Synth,
) -> None:
    made = synth()
    assert made.one("Lambda::Function")["Environment"]["Variables"] == {"CORS_ORIGIN": "*"}
    assert [kind for kind in OURS if made.all(kind)] == []
    assert not made.outputs() & {"BulkBucket", "BulkFunction", "BulkStateMachine"}


def test_both_functions_run_one_image(synth: Synth) -> None:
    made = synth(**BULK)
    first, second = made.all("Lambda::Function")
    assert first["Code"] == second["Code"]
    bulk = function(made)
    assert bulk["ImageConfig"] == {"Command": ["classifier.bulk.handler"]}
    assert (bulk["MemorySize"], bulk["Timeout"]) == (1769, TIMEOUT_S)
    assert function(synth(**BULK, bulk_memory="3008"))["MemorySize"] == 3008
    assert made.outputs() >= {"BulkBucket", "BulkFunction", "BulkStateMachine"}


def test_a_created_bucket_is_encrypted_closed_and_kept(synth: Synth) -> None:
    made = synth(**BULK)
    bucket = made.one("S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert "BucketEncryption" in bucket
    (unfinished,) = bucket["LifecycleConfiguration"]["Rules"]
    assert unfinished["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert "NotificationConfiguration" not in bucket
    (resource,) = [
        one for one in made.template["Resources"].values() if one["Type"] == "AWS::S3::Bucket"
    ]
    # A first deployment that fails leaves none.
    kept = (resource["DeletionPolicy"], resource["UpdateReplacePolicy"])
    assert kept == ("RetainExceptOnCreate", "Retain")
    assert '"aws:SecureTransport": "false"' in json.dumps(made.one("S3::BucketPolicy"))
    rules = synth(**BULK, results_days=30).one("S3::Bucket")["LifecycleConfiguration"]["Rules"]
    expiring = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule}
    assert expiring == dict.fromkeys(OWN_PREFIXES, 30)


def test_an_existing_bucket_is_no_resource_and_its_key_is_used(synth: Synth) -> None:
    made = synth(**EXISTING)
    assert made.all("S3::Bucket") + made.all("S3::BucketPolicy") == []
    for role in ("BulkRole", "BulkRunRole", "FunctionRole"):
        assert {action for action, text in granted(made, role) if EXISTING["bulk_key"] in text} >= {
            "kms:Decrypt"
        }


def test_each_role_reads_the_images_and_writes_its_own_alone(synth: Synth) -> None:
    made = synth(**UPLOADS)
    api, bulk, run = (granted(made, role) for role in ("FunctionRole", "BulkRole", "BulkRunRole"))
    reads = ("s3:GetObject", "s3:GetObjectVersion")
    writes = ("s3:PutObject", "s3:AbortMultipartUpload")
    assert (objects(api, *reads), objects(api, *writes)) == ({"images/*"}, set())
    assert {"images/*", "results/*/request.json"} <= objects(bulk, *reads)
    assert objects(bulk, *writes) == {"results/*"}
    assert (objects(run, *reads), objects(run, *writes)) == (
        {"manifests/*", "map-runs/*"},
        {"map-runs/*"},
    )
    actions = {action for action, _ in [*api, *bulk, *run]}
    assert not [
        action for action in actions if "s3:Delete" in action or "*" in action or "Acl" in action
    ]
    assert not [action for action in actions if "Tagging" in action]
    tagging = granted(synth(**UPLOADS, upload_tags=True, upload_prefix="images/new/"), "BulkRole")
    assert objects(tagging, "s3:PutObjectTagging", "s3:GetObjectTagging") == {"images/new/*"}
    for policy in made.all("IAM::Policy"):
        for one in policy["PolicyDocument"]["Statement"]:
            if one["Action"] == "s3:ListBucket":
                assert "images/*" in json.dumps(one["Condition"]) or "manifests/*" in json.dumps(
                    one["Condition"]
                )


def test_the_machine_is_the_definition_and_logs_no_labels(synth: Synth) -> None:
    made = synth(**BULK)
    machine = made.one("StepFunctions::StateMachine")
    assert json.loads(machine["DefinitionString"]) == definition()
    assert set(machine["DefinitionSubstitutions"]) == set(
        re.findall(r"\$\{(\w+)\}", machine["DefinitionString"])
    )
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False
    (log,) = [one for one in made.all("Logs::LogGroup") if "LogGroupName" in one]
    assert json.dumps(log["LogGroupName"]).count("/aws/vendedlogs/states/") == 1
    assert "AWS::StackId" in json.dumps(log["LogGroupName"])


def test_uploads_go_through_a_queue_with_a_concurrency_of_their_own(
    synth: Synth,
) -> None:
    made = synth(**UPLOADS, upload_prefix="images/new/", upload_concurrency=7)
    assert made.one("S3::Bucket")["NotificationConfiguration"] == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }
    pattern = made.one("Events::Rule")["EventPattern"]
    assert (pattern["source"], pattern["detail-type"]) == (["aws.s3"], ["Object Created"])
    assert pattern["detail"]["object"] == {"key": [{"prefix": "images/new/"}]}
    mapping = made.one("Lambda::EventSourceMapping")
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 7}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    (queue,) = [one for one in made.all("SQS::Queue") if "RedrivePolicy" in one]
    assert queue["VisibilityTimeout"] >= 6 * TIMEOUT_S
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 5
    variables = function(made)["Environment"]["Variables"]
    assert {"ON_UPLOAD_BUCKET", "ON_UPLOAD_KEY", "BULK_BUCKET", "BULK_PREFIX"} == set(variables)
    assert not synth(**BULK).all("SQS::Queue")


def test_failed_runs_and_lost_uploads_have_alarms_that_are_mailed(
    synth: Synth,
) -> None:
    made = synth(**UPLOADS, alarm_email="ops@example.org")
    alarms = {alarm["MetricName"]: alarm for alarm in made.all("CloudWatch::Alarm")}
    assert set(alarms) == {
        "5XXError",
        "Throttles",
        "Latency",
        "ExecutionsFailed",
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
    }
    assert all(alarm["AlarmActions"] for alarm in alarms.values())
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    rows = guide.partition("| alarm | goes off when |\n|---|---|\n")[2].partition("\n\n")[0]
    assert len(rows.splitlines()) == len(alarms)
    assert {
        alarms[name]["Threshold"]
        for name in ("ExecutionsFailed", "ApproximateNumberOfMessagesVisible")
    } == {1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_upload": "a.json"}, "on_upload=a.json needs bulk_bucket"),
        ({**UPLOADS, "bulk_prefix": "none"}, "watches results/"),
        ({**UPLOADS, "bulk_prefix": "res"}, "watches results/"),
        ({**UPLOADS, "bulk_prefix": "results/uploads-"}, "watches results/"),
        ({**UPLOADS, "bulk_prefix": "map"}, "watches map-runs/"),
        (
            {**UPLOADS, "upload_prefix": "other/"},
            "upload_prefix=other/ is not under bulk_prefix=images/",
        ),
        (
            {"bulk_bucket": "our-pictures", "results_days": 3},
            "would replace the rules of bulk_bucket=our-pictures",
        ),
        ({**EXISTING, "bulk_bucket": "create"}, "is for a bucket that exists"),
        ({"bulk_bucket": "Our_Pictures"}, "bulk_bucket=Our_Pictures is not allowed"),
        ({"bulk_bucket": "create", "bulk_prefix": "a*"}, "bulk_prefix=a* is not allowed"),
        ({**UPLOADS, "upload_concurrency": 1}, "upload_concurrency=1 is not allowed"),
    ],
)
def test_settings_that_would_loop_or_read_elsewhere_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        Settings.read({"bundle": "models/demo", "synth_only": True, **settings})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.json", "is no file of this repository"),
        ("../../etc/x.json", "is no file of this repository"),
        ("cdk.json", 'The field "app" is unknown'),
        ("tests/clients/package.json", "is unknown"),
    ],
)
def test_a_request_for_uploads_that_cannot_work_is_refused_at_synthesis(
    synth: Synth, path: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        synth(**UPLOADS | {"on_upload": path})


@pytest.mark.parametrize(("classifiers", "deployed"), [("all", True), ("moderation", False)])
def test_uploads_may_ask_by_a_deployed_classifiers_name(
    synth: Synth,
    classifiers: str,
    deployed: bool,
) -> None:
    settings = {**UPLOADS, "on_upload": "tests/stacks/on_upload.json", "classifiers": classifiers}
    if deployed:
        assert synth(**settings).all("SQS::Queue")
    else:
        with pytest.raises(
            SettingsError,
            match=(
                r"drawings, which is not deployed. Deployed by the setting classifiers: moderation."
            ),
        ):
            synth(**settings)
