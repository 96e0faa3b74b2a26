import json
import platform
import shutil
from pathlib import Path

import pytest

from classifier.contract.bundle import read_manifest
from classifier.contract.classifiers.file import parse_classifier
from classifier.contract.classifiers.fit import fitted_on
from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError
from tests.support.deployment import (
    FAILURES,
    NO_PARAMETER,
    NO_STACK,
    Programs,
    Reply,
    check,
    limits,
)
from tests.support.local import bundle
from tools.deploy import checks, machine
from tools.deploy.machine import CheckError


def test_a_wrong_setting_ends_the_check_before_anything_is_built(programs: Programs) -> None:
    done = programs.run("check", "region", "-c", "memroy=4096")
    assert (done.returncode, done.stderr) == (
        1,
        "error: memroy=4096 is no setting. Did you mean memory?\n",
    )
    certificate = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b"
    settings = [
        "-c",
        "domain=a.example.org",
        "-c",
        f"certificate={certificate}",
        "-c",
        "hosted_zone=Z1",
    ]
    assert (
        "is in us-east-1, and the deployment goes to eu-central-1"
        in programs.run("check", "region", *settings).stderr
    )


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("check_name", ["logging-role", "bootstrap", "concurrency", "credentials"])
def test_no_failure_of_the_aws_cli_counts_as_something_missing(
    programs: Programs, check_name: str, failure: str
) -> None:
    reply, remedy = FAILURES[failure]
    programs.aws(
        apigateway__get_account=reply,
        ssm__get_parameter=reply,
        lambda__get_account_settings=reply,
        sts__get_caller_identity=reply,
    )
    done = (
        programs.run_machine(check_name)
        if check_name in machine.CHECKS
        else programs.run("check", check_name)
    )
    assert "make bootstrap" not in done.stderr
    assert reply[1].partition(" when ")[0] in done.stderr
    if failure == "denied" and check_name in ("bootstrap", "concurrency"):
        # Whoever deploys may lack this one permission, and the deployment doesn't need it.
        assert done.returncode == 0
    else:
        assert done.returncode == 1
        assert remedy in done.stderr or check_name == "credentials"


@pytest.mark.parametrize(
    ("reply", "message"),
    [(NO_PARAMETER, "is not set up"), ("5", "has version 5, which is too old"), ("6", "")],
)
def test_the_cdks_own_bootstrap_is_looked_for(
    programs: Programs, reply: Reply, message: str
) -> None:
    programs.aws(ssm__get_parameter=reply)
    reported = check(programs, "bootstrap")
    assert (message in reported and "make bootstrap" in reported) if message else not reported
    assert "--name /cdk-bootstrap/hnb659fds/version " in programs.calls("aws ssm")[0]


@pytest.mark.parametrize(
    ("quota", "unreserved", "setting", "message"),
    [
        (10, 10, "reserved_concurrency=1", "none fits: leave reserved_concurrency out"),
        (50, 50, "reserved_concurrency=5", "none fits"),
        (50, 50, "provisioned_concurrency=1", "none fits: leave provisioned_concurrency out"),
        (
            1000,
            1000,
            "reserved_concurrency=901",
            "at most 900 fit: SETTINGS=reserved_concurrency=900",
        ),
        (1000, 120, "reserved_concurrency=21", "at most 20 fit"),
        (1000, 1000, "reserved_concurrency=900", ""),
        (1000, 120, "provisioned_concurrency=20", ""),
    ],
)
def test_more_environments_than_the_account_can_spare_are_refused(
    programs: Programs, quota: int, unreserved: int, setting: str, message: str
) -> None:
    programs.aws(
        lambda__get_account_settings=limits(quota, unreserved),
        cloudformation__describe_stack_resources=NO_STACK,
    )
    done = programs.run("check", "concurrency", "-c", setting, "-c", "throttle_burst=1")
    assert (done.returncode, message in done.stderr, "rather" in done.stdout) == (
        bool(message),
        True,
        False,
    ), done.stderr


def test_what_the_function_has_reserved_already_is_no_obstacle_to_the_next_deployment(
    programs: Programs,
) -> None:
    function = {
        "cloudformation__describe_stack_resources": "clip-classifier-Function-1",
        "lambda__get_function_concurrency": '{"ReservedConcurrentExecutions": 900}',
    }
    programs.aws(lambda__get_account_settings=limits(1000, 100), **function)
    assert programs.run("check", "concurrency", "-c", "reserved_concurrency=900").returncode == 0
    done = programs.run("check", "concurrency", "-c", "reserved_concurrency=901")
    assert (done.returncode, "at most 900 fit" in done.stderr) == (1, True)


def test_of_several_functions_each_is_asked_what_it_has_reserved(programs: Programs) -> None:
    programs.aws(
        lambda__get_account_settings=limits(1000, 100),
        cloudformation__describe_stack_resources="clip-BulkFunction-2\tclip-Function-1",
        lambda__get_function_concurrency=["{}", '{"ReservedConcurrentExecutions": 900}'],
    )
    settings = ("-c", "reserved_concurrency=900", "-c", "bulk_bucket=create")
    assert check(programs, "concurrency", *settings) == ""
    asked = programs.calls("aws lambda get-function-concurrency")
    assert [call.split()[4] for call in asked] == ["clip-BulkFunction-2", "clip-Function-1"]


@pytest.mark.parametrize(
    ("builder", "architecture", "refused"),
    [
        ("podman 4.3.1", "other", True),
        ("podman 4.5.0", "other", False),
        ("podman 5.6.2-rhel", "other", False),
        ("podman 4.3.1", "own", False),
        ("docker 29.0.1", "other", False),
    ],
)
def test_a_podman_that_mixes_up_processors_builds_for_its_own_alone(
    programs: Programs, builder: str, architecture: str, refused: bool
) -> None:
    name, version = builder.split()
    programs.add(name, f"echo {version}")
    own = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    (other,) = {"arm64", "x86_64"} - {own}
    target = own if architecture == "own" else other
    report = check(programs, "builder", "-c", f"architecture={target}", CDK_DOCKER=name)
    assert (f'SETTINGS="architecture={own}"' in report) == refused == bool(report)


@pytest.mark.parametrize(
    ("settings", "note"), [([], "throttle_burst=10"), (["-c", "throttle_burst=10"], "")]
)
def test_a_burst_that_a_new_account_cannot_serve_gets_a_note(
    programs: Programs, settings: list[str], note: str
) -> None:
    programs.aws(lambda__get_account_settings=limits(10, 10))
    done = programs.run("check", "concurrency", *settings)
    assert (done.returncode, bool(done.stdout)) == (0, bool(note))
    assert note in done.stdout


@pytest.mark.parametrize(
    ("classifiers", "message"),
    [("all", ""), ("none", ""), ("drawing", "classifiers/drawing.json is missing")],
)
def test_classifiers_are_checked_before_the_model_is_made(
    programs: Programs, classifiers: str, message: str
) -> None:
    done = programs.run(
        "check", "classifiers", "-c", f"classifiers={classifiers}", "-c", "bundle=models/none"
    )
    assert done.returncode == (1 if message else 0)
    assert message in done.stderr + done.stdout


def pets(root: Path, model: str) -> None:
    """A classifier pets.json that was fitted on the one bundle, models/mine."""
    name, tag = model.split("/")
    mine = bundle(root / "models" / "mine", model=name, pretrained=tag)
    file = {"labels": ["a dog", "a cat"], "thresholds": {"a dog": 0.5}}
    fit = fitted_on(read_manifest(mine, verify_hashes=False), parse_classifier(file)).model_dump()
    (root / "classifiers").mkdir()
    text = json.dumps(file | {"fitted_on": fit})
    (root / "classifiers" / "pets.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "setting", "refused"),
    [
        ("ViT-L-14/laion", "pets", True),
        ("ViT-L-14/laion", "all", False),
        ("ViT-B-32-quickgelu/openai", "pets", False),
    ],
)
def test_a_classifier_of_another_model_is_refused_before_that_model_is_made(
    tmp_path: Path, model: str, setting: str, refused: bool
) -> None:
    pets(tmp_path, model)
    settings = Settings.read(checks.context() | {"classifiers": setting})
    if not refused:
        checks.check_classifiers(settings, tmp_path)
        return
    with pytest.raises(CheckError, match=r"(?s)fitted on ViT-L-14/laion.*BUNDLE=models/mine$"):
        checks.check_classifiers(settings, tmp_path)
    shutil.rmtree(tmp_path / "models")
    with pytest.raises(CheckError, match=r"BUNDLE=models/ViT-L-14-laion$"):
        checks.check_classifiers(settings, tmp_path)


def test_a_bundle_that_is_there_is_compared_by_its_fingerprint(tmp_path: Path) -> None:
    pets(tmp_path, "ViT-B-32-quickgelu/openai")
    settings = Settings.read(checks.context() | {"classifiers": "pets"})
    name = {"model": "ViT-B-32-quickgelu", "pretrained": "openai"}
    deployed = bundle(tmp_path / settings.bundle, **name)
    checks.check_classifiers(settings, tmp_path)
    manifest = json.loads((deployed / "bundle.json").read_bytes())
    manifest["files"]["text.onnx"]["sha256"] = 64 * "0"
    (deployed / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"^classifiers=pets: .*can't be used with ViT-B-32"):
        checks.check_classifiers(settings, tmp_path)
