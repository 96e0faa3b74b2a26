import io
import json
import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.requests import DEMO, ROOT
from tools import deploy
from tools.deploy import CheckError, wait

ANSWER = '{"result": {"a dog": 0.9, "a cat": 0.1}}'
ROLE = "arn:aws:iam::123456789012:role/service-role/api-gateway-logging-Role-1ABC"
# What the AWS CLI prints and how it exits, by what went wrong.
DENIED = (
    254,
    (
        "An error occurred (AccessDeniedException) when calling the {0} operation: User:"
        " arn:aws:iam::123456789012:user/dev is not authorized to perform this action because no"
        " identity-based policy allows it"
    ),
)
EXPIRED = (
    254,
    (
        "An error occurred (ExpiredTokenException) when calling the {0} operation: The security"
        " token included in the request is expired"
    ),
)
THROTTLED = (
    254,
    (
        "An error occurred (TooManyRequestsException) when calling the {0} operation (reached max"
        " retries: 2): Too Many Requests"
    ),
)
NO_CREDENTIALS = (
    253,
    'Unable to locate credentials. You can configure credentials by running "aws login".',
)
NO_ROLE = (
    254,
    (
        "An error occurred (NoSuchEntity) when calling the GetRole operation: The role with name"
        " api-gateway-logging-Role-1ABC cannot be found."
    ),
)
NO_PARAMETER = (
    254,
    (
        "An error occurred (ParameterNotFound) when calling the GetParameter operation: Parameter"
        " /cdk-bootstrap/hnb659fds/version not found."
    ),
)
NO_STACK = (
    254,
    (
        "An error occurred (ValidationError) when calling the DescribeStackResources operation:"
        " Stack with id clip-classifier does not exist"
    ),
)
NOT_CREATED = (
    255,
    (
        "Failed to create/update the stack. Run the following command to fetch the list of events"
        " leading up to the failure aws cloudformation describe-stack-events --stack-name"
        " api-gateway-logging"
    ),
)
LIMITS = {"TotalCodeSize": 80530636800, "CodeSizeUnzipped": 262144000, "CodeSizeZipped": 52428800}


def limits(quota: int, unreserved: int) -> str:
    return json.dumps(
        LIMITS | {"ConcurrentExecutions": quota, "UnreservedConcurrentExecutions": unreserved},
        indent=4,
    )


FINE = {
    "--version": "aws-cli/2.31.0 Python/3.13.7 Linux/6.12 exe/x86_64.amzn.2023",
    "sts get-caller-identity": "arn:aws:sts::123456789012:assumed-role/dev/me",
    "configure get": "eu-central-1",
    "ssm get-parameter": "30",
    "apigateway get-account": ROLE,
    "iam get-role": ROLE,
    "lambda get-account-settings": limits(1000, 1000),
    "lambda wait": "",
    "cloudformation delete-stack": "",
    "cloudformation wait": "",
    "cloudformation deploy": "Successfully created/updated stack - api-gateway-logging",
}
Reply = str | tuple[int, str]


class Programs:
    """A folder of stand-ins that is all of PATH. Each call is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls.log"
        for name in ("sh", "cat", "test"):
            program = shutil.which(name)
            assert program
            (folder / name).symlink_to(program)

    def add(self, name: str, script: str) -> None:
        file = self.folder / name
        file.write_text(
            f"#!/bin/sh\necho {name} \"$@\" >> '{self.log}'\n{script}\n", encoding="utf-8"
        )
        file.chmod(0o755)

    def aws(self, **replies: Reply | list[Reply]) -> None:
        """The AWS CLI: by `service_command` an output or (status, error), or a list of them for one
        call after the other.
        """
        cases = []
        for key, reply in (
            FINE
            | {key.replace("__", " ").replace("_", "-"): reply for key, reply in replies.items()}
        ).items():
            series = reply if isinstance(reply, list) else [reply]
            for count, entry in enumerate(series, 1):
                status, text = entry if isinstance(entry, tuple) else (0, entry)
                file = self.folder / f"{key.replace(' ', '.')}.{count}"
                operation = "".join(word.title() for word in key.partition(" ")[2].split("-"))
                file.write_text(
                    f"{chr(10) if status else ''}{text.replace('{0}', operation)}\n",
                    encoding="utf-8",
                )
                file.with_suffix(file.suffix + ".status").write_text(str(status))
            cases.append(
                f'"{key}"*) reply="{self.folder}/{key.replace(" ", ".")}"; last={len(series)};;'
            )
        chosen = "\n".join(cases)
        self.add(
            "aws",
            f"""case "$1 $2" in
{chosen}
*) echo "aws: [ERROR]: argument command: Invalid choice" >&2; exit 252;;
esac
n=1
while test -e "$reply.$n.used" && test "$n" -lt "$last"; do n=$((n + 1)); done
: > "$reply.$n.used"
read -r status < "$reply.$n.status" || :
if test "$status" = 0; then cat "$reply.$n"; else cat "$reply.$n" >&2; fi
exit "$status\"""",
        )

    def calls(self, program: str = "") -> list[str]:
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(program)]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The tool where only these programs are to be found: in this process, since a new one
        takes a second to start.
        """
        out = io.StringIO()
        err = io.StringIO()
        code = 0
        before = dict(os.environ)
        os.environ.clear()
        os.environ |= {"PATH": str(self.folder), **environment}
        try:
            with redirect_stdout(out), redirect_stderr(err):
                deploy.main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            print(
                end.code if isinstance(end.code, str) else "",
                file=err,
                end="\n" if isinstance(end.code, str) else "",
            )
        finally:
            os.environ.clear()
            os.environ |= before
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """Everything that a deployment needs, as it is where all is well."""
    made = Programs(tmp_path)
    made.add("node", "echo v24.1.0")
    made.add("docker", "exit 0")
    made.aws()
    return made


@contextmanager
def endpoint(
    *statuses: int, models: tuple[str, ...] = ("demo",), context: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A loopback server that gives these statuses one after the other, then 200; its URL and the
    requests' headers. The answers' X-Model likewise, the last one for ever.
    """
    seen: list[dict[str, str]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert set(body) == {"image_data", "labels"}
            status = statuses[len(seen)] if len(seen) < len(statuses) else 200
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.send_header("X-Model", models[min(len(seen), len(models)) - 1])
            self.end_headers()
            self.wfile.write(ANSWER.encode() if status == 200 else b'{"message": "not yet"}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http{'s' if context else ''}://localhost:{server.server_port}/", seen
        finally:
            server.shutdown()
            thread.join()


def test_the_endpoint_is_called_with_growing_pauses_until_it_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses: list[float] = []
    with endpoint(403, 502, 503, 429, 500, 504) as (url, seen):
        assert wait(url, "secret", sleep=pauses.append)
    assert pauses == [1, 2, 4, 8, 15, 15]
    assert {request["x-api-key"] for request in seen} == {"secret"}
    assert {request["content-type"] for request in seen} == {"application/json"}
    output = capsys.readouterr().out
    assert "502  {" in output
    assert ANSWER in output
    assert "It answered after 0." in output
    assert "secret" not in output


def test_no_key_is_sent_where_there_is_none() -> None:
    with endpoint() as (url, seen):
        assert wait(url, None)
    assert "x-api-key" not in seen[0]


def test_a_request_that_is_wrong_in_itself_is_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with endpoint(400) as (url, seen):
        assert not wait(url, None)
    assert len(seen) == 1
    assert "No answer after" in capsys.readouterr().err


def test_patience_ends_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []
    assert not wait("http://127.0.0.1:9/", None, patience=3, sleep=pauses.append)
    assert pauses == [1, 2]
    assert "no answer" in capsys.readouterr().out


def test_the_answer_of_the_version_before_is_not_taken_for_the_new_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses: list[float] = []
    with endpoint(models=("ViT-B-32/old", "ViT-B-32/old", "ViT-L-14/new")) as (url, seen):
        assert wait(url, None, model="ViT-L-14/new", sleep=pauses.append)
    assert len(seen) == 3
    assert pauses == [1, 2]
    assert "(still ViT-B-32/old, not ViT-L-14/new)" in capsys.readouterr().out


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's certificate that nobody trusts."""
    key = folder / "key.pem"
    file = folder / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        f"/CN={name}",
    ]
    extension = ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(file)]
    subprocess.run([*command, *extension], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return context


def test_a_certificate_that_is_not_trusted_ends_at_once_with_what_to_do(tmp_path: Path) -> None:
    with (
        endpoint(context=certificate(tmp_path, "localhost")) as (url, seen),
        pytest.raises(CheckError) as raised,
    ):
        wait(url, None, sleep=lambda _: pytest.fail("it waited"))
    assert not seen
    assert "The deployment itself succeeded." in str(raised.value)
    assert "REQUESTS_CA_BUNDLE" in str(raised.value)


def test_certificates_come_with_the_tool_and_not_from_the_system(programs: Programs) -> None:
    """A Python from python.org has none of its own on macOS: there OpenSSL looks into a folder that
    doesn't exist.
    """
    context = certificate(programs.folder, "localhost")
    variables = {
        "SSL_CERT_FILE": "/nowhere",
        "REQUESTS_CA_BUNDLE": str(programs.folder / "certificate.pem"),
    }
    with endpoint(context=context) as (url, _):
        assert (
            programs.run("wait", outputs(programs.folder, url), str(DEMO), **variables).returncode
            == 0
        )


def check(programs: Programs, *names: str, **environment: str) -> str:
    """What the check reports; empty where nothing is missing."""
    done = programs.run("check", *names, **environment)
    assert (done.returncode == 1) == done.stderr.startswith("This is missing:"), done.stderr
    return done.stderr


def test_every_missing_program_is_named_at_once_with_what_to_install(tmp_path: Path) -> None:
    missing = check(
        Programs(tmp_path),
        "node",
        "docker",
        "buildx",
        "aws",
        "credentials",
        "region",
        "bootstrap",
        "logging-role",
    )
    for name in ("node", "docker", "aws"):
        assert re.search(rf"^{name}: {name} is not installed\n  install ", missing, re.MULTILINE)
    # What can't be asked without them is left out.
    assert not re.search(r"^(buildx|credentials|bootstrap|logging-role):", missing, re.MULTILINE)
    assert "export AWS_REGION" in missing


def test_nothing_is_reported_where_everything_is_there(programs: Programs) -> None:
    done = programs.run("check", *deploy.CHECKS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("version", "accepted"),
    [("v20.20.2", False), ("v22.0.0", True), ("v24.1.0", True), ("v9.0.0", False), ("none", False)],
)
def test_node_must_be_new_enough(programs: Programs, version: str, accepted: bool) -> None:
    programs.add("node", f"echo {version}")
    assert check(programs, "node") == (
        ""
        if accepted
        else (
            f"This is missing:\nnode: Node.js is {version}, which is too old for the CDK\n  install"
            " Node.js 22 or newer: https://nodejs.org\n"
        )
    )


def test_the_message_of_a_program_that_fails_is_passed_on(programs: Programs) -> None:
    programs.add("docker", 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    assert "docker: Cannot connect to the Docker daemon\n  install Docker and start it" in check(
        programs, "docker", "buildx"
    )


@pytest.mark.parametrize("builder", ["podman", "finch"])
def test_other_builders_that_the_cdk_supports_need_no_buildx(
    programs: Programs, builder: str
) -> None:
    without = 'case "$1" in info) exit 0;; esac; echo "unknown command: $1" >&2; exit 1'
    programs.add(builder, without)
    assert check(programs, "docker", "buildx", CDK_DOCKER=builder) == ""
    programs.add("docker", without)
    assert "buildx: unknown command: buildx\n  install Docker's buildx" in check(
        programs, "docker", "buildx"
    )


def test_a_region_from_the_environment_is_enough(programs: Programs) -> None:
    programs.aws(configure__get=(1, ""))
    assert check(programs, "region", AWS_REGION="eu-central-1") == ""
    assert "export AWS_REGION" in check(programs, "region")


def test_a_wrong_setting_ends_the_check_before_anything_is_built(programs: Programs) -> None:
    done = programs.run("check", "node", "-c", "memroy=4096")
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


FAILURES = {
    "denied": (DENIED, "Ask for this permission"),
    "expired": (EXPIRED, "Sign in again"),
    "throttled": (THROTTLED, "try again"),
}


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
    done = programs.run("check", check_name)
    assert "make bootstrap" not in done.stderr
    assert reply[1].partition(" when ")[0] in done.stderr
    if failure == "denied" and check_name in ("bootstrap", "concurrency"):
        # Whoever deploys may lack this one permission, and the deployment doesn't need it.
        assert done.returncode == 0
    else:
        assert done.returncode == 1
        assert remedy in done.stderr or check_name == "credentials"


@pytest.mark.parametrize(
    ("account", "role"), [("None", ROLE), (ROLE, NO_ROLE)], ids=["none", "stale"]
)
def test_an_account_without_a_role_for_logs_is_told_to_bootstrap(
    programs: Programs, account: str, role: Reply
) -> None:
    programs.aws(apigateway__get_account=account, iam__get_role=role)
    assert "make bootstrap" in check(programs, "logging-role")


def test_a_role_that_may_not_be_looked_at_counts_as_there(programs: Programs) -> None:
    programs.aws(iam__get_role=DENIED)
    assert check(programs, "logging-role") == ""
    assert "--role-name api-gateway-logging-Role-1ABC " in programs.calls("aws iam get-role")[0]


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


@pytest.mark.parametrize("failure", [*FAILURES, "no credentials"])
def test_bootstrap_leaves_the_accounts_role_alone_where_it_cannot_tell(
    programs: Programs, failure: str
) -> None:
    programs.aws(
        apigateway__get_account=(
            NO_CREDENTIALS if failure == "no credentials" else FAILURES[failure][0]
        )
    )
    done = programs.run("logging-role")
    assert done.returncode == 1
    assert not programs.calls("aws cloudformation")


def test_bootstrap_keeps_a_role_that_is_there(programs: Programs) -> None:
    done = programs.run("logging-role")
    assert (done.returncode, done.stdout) == (0, f"API Gateway writes its logs with {ROLE}.\n")
    assert not programs.calls("aws cloudformation")


@pytest.mark.parametrize(
    ("account", "role"), [("None", ROLE), (ROLE, NO_ROLE)], ids=["none", "stale"]
)
def test_bootstrap_makes_a_role_where_there_is_none_or_it_was_deleted(
    programs: Programs, account: str, role: Reply
) -> None:
    programs.aws(apigateway__get_account=account, iam__get_role=role)
    assert programs.run("logging-role").returncode == 0
    removed, waited, made = programs.calls("aws cloudformation")
    # A stack whose role was deleted by hand is "up to date", and one that failed can't be updated.
    assert (removed, waited) == (
        "aws cloudformation delete-stack --stack-name api-gateway-logging",
        "aws cloudformation wait stack-delete-complete --stack-name api-gateway-logging",
    )
    assert made.endswith("stacks/logging_role.yaml --capabilities CAPABILITY_IAM")


@pytest.fixture
def inside(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """For calls in this process, where a pause can be handed in."""
    monkeypatch.setenv("PATH", str(programs.folder))
    return programs


def test_bootstrap_tries_once_more_where_iam_is_late(inside: Programs) -> None:
    pauses: list[float] = []
    inside.aws(
        apigateway__get_account="None", cloudformation__deploy=[NOT_CREATED, "Successfully created"]
    )
    deploy.make_logging_role(sleep=pauses.append)
    assert pauses == [20]
    assert [call.split()[2] for call in inside.calls("aws cloudformation")] == [
        "delete-stack",
        "wait",
        "deploy",
    ] * 2


@pytest.mark.parametrize(("reply", "attempts"), [(NOT_CREATED, 2), (DENIED, 1), (EXPIRED, 1)])
def test_bootstrap_gives_up_with_the_clis_message(
    inside: Programs, reply: tuple[int, str], attempts: int
) -> None:
    inside.aws(apigateway__get_account="None", cloudformation__deploy=reply)
    with pytest.raises(CheckError, match=reply[1][:20].replace("(", r"\(")):
        deploy.make_logging_role(sleep=lambda _: None)
    assert len(inside.calls("aws cloudformation deploy")) == attempts


@pytest.fixture
def cdk_json(tmp_path: Path) -> Path:
    """A copy that may be written to."""
    path = tmp_path / "cdk.json"
    shutil.copy(ROOT / "cdk.json", path)
    return path


@pytest.mark.parametrize(
    "boundary", [{"name": "developers"}, {"arn": "arn:aws:iam::123456789012:policy/developers"}]
)
def test_the_role_for_logs_takes_the_cdks_tags_and_permissions_boundary(
    inside: Programs, cdk_json: Path, boundary: dict[str, str]
) -> None:
    configuration = json.loads(cdk_json.read_text(encoding="utf-8"))
    configuration["tags"] = [{"Key": "team", "Value": "search"}, {"Key": "cost", "Value": "42"}]
    configuration["context"]["@aws-cdk/core:permissionsBoundary"] = boundary
    cdk_json.write_text(json.dumps(configuration), encoding="utf-8")
    inside.aws(apigateway__get_account="None")
    deploy.make_logging_role(cdk_json)
    (made,) = inside.calls("aws cloudformation deploy")
    assert (
        "--tags team=search cost=42 --parameter-overrides"
        " PermissionsBoundary=arn:aws:iam::123456789012:policy/developers" in made
    )


MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
    "digest": "sha256:" + "0123456789abcdef" * 4,
    "size": 743,
    "manifests": [
        {
            "digest": "sha256:" + "1" * 64,
            "size": 1,
            "platform": {"architecture": name, "os": "linux"},
        }
        for name in ("amd64", "arm64")
    ],
}
ONE_PLATFORM = MANIFEST | {"manifests": MANIFEST["manifests"][:1]}


def test_todays_base_image_is_pinned_and_pinned_again(inside: Programs, cdk_json: Path) -> None:
    before = json.loads(cdk_json.read_text(encoding="utf-8"))
    for digit in "ab":
        manifest = json.dumps(MANIFEST | {"digest": "sha256:" + digit * 64}, indent=2)
        inside.add("docker", f"cat <<'END'\n{manifest}\nEND")
        assert (
            deploy.update_base(cdk_json) == "public.ecr.aws/lambda/python:3.13@sha256:" + digit * 64
        )
    after = json.loads(cdk_json.read_text(encoding="utf-8"))
    assert (
        after["context"].pop("base_image") == "public.ecr.aws/lambda/python:3.13@sha256:" + "b" * 64
    )
    assert after == before
    # Each time by the tag, which moves, and not by the digest before.
    assert {call.split()[4] for call in inside.calls("docker buildx imagetools inspect")} == {
        "public.ecr.aws/lambda/python:3.13"
    }


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            (
                'echo "ERROR: unexpected status from HEAD request to https://public.ecr.aws/v2/:'
                ' 403 Forbidden" >&2; exit 1'
            ),
            "docker logout public.ecr.aws",
        ),
        (
            f"cat <<'END'\n{json.dumps(ONE_PLATFORM)}\nEND",
            "not made for both",
        ),
    ],
)
def test_a_base_image_that_cannot_be_used_changes_nothing(
    inside: Programs, cdk_json: Path, script: str, message: str
) -> None:
    before = cdk_json.read_bytes()
    inside.add("docker", script)
    with pytest.raises(CheckError, match=message):
        deploy.update_base(cdk_json)
    assert cdk_json.read_bytes() == before


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


def outputs(folder: Path, url: str, **more: str) -> str:
    values = {
        "Url": url,
        "FunctionName": "clip-Function-1",
        "Dashboard": "https://console.example.org",
        **more,
    }
    file = folder / "outputs.json"
    file.write_text(json.dumps({"clip-classifier": values}), encoding="utf-8")
    return str(file)


def test_the_outputs_of_a_deployment_lead_to_the_key_and_the_answer(programs: Programs) -> None:
    programs.aws(apigateway__get_api_key="secret")
    with endpoint(503) as (url, seen):
        done = programs.run(
            "wait",
            outputs(programs.folder, url, ApiKeyCommand="aws apigateway get-api-key --api-key abc"),
            str(DEMO),
        )
    assert done.returncode == 0, done.stderr
    assert [request["x-api-key"] for request in seen] == ["secret", "secret"]
    assert "The API key: aws apigateway get-api-key --api-key abc" in done.stdout
    assert "It answered after 1." in done.stdout
    assert programs.calls("aws lambda") == [
        "aws lambda wait function-updated-v2 --function-name clip-Function-1"
    ]


def test_a_private_api_is_not_called_from_here(programs: Programs) -> None:
    done = programs.run(
        "wait",
        outputs(programs.folder, "https://a-vpce-1.example.org/", VpcEndpoint="vpce-1"),
        str(DEMO),
    )
    assert (done.returncode, "private to vpce-1" in done.stdout) == (0, True)
    assert not programs.calls()


def test_a_deployment_with_iam_is_called_with_a_signature(programs: Programs) -> None:
    credentials = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalr",
        "AWS_SESSION_TOKEN": "token",
        "AWS_REGION": "eu-central-1",
    }
    with endpoint() as (url, seen):
        done = programs.run(
            "wait", outputs(programs.folder, url, Authentication="iam"), str(DEMO), **credentials
        )
    assert done.returncode == 0, done.stderr
    signature = seen[0]["authorization"]
    assert re.match(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d{8}/eu-central-1/execute-api/aws4_request, ",
        signature,
    )
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in signature
    assert seen[0]["x-amz-security-token"] == "token"


def outside(**environment: str) -> dict[str, str]:
    """The environment without what an outer make left in it."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    } | environment


def make(*words: str) -> str:
    """What make would do."""
    command = ["make", "--dry-run", *words]
    return subprocess.run(
        command, cwd=ROOT, env=outside(), capture_output=True, text=True, check=True
    ).stdout


def test_a_deployment_takes_the_settings_and_the_bundle_that_were_named() -> None:
    output = make("deploy-cdk", "SETTINGS=memory=4096 playground=true", "BUNDLE=models/mine")
    assert (
        "cdk deploy -c memory=4096 -c playground=true -c bundle=models/mine --require-approval"
        " never " in output
    )
    assert "concurrency -c memory=4096 -c playground=true -c bundle=models/mine" in output
    assert "-c bundle=models/ViT-L-14-laion " in make(
        "deploy-cdk", "MODEL=ViT-L-14", "PRETRAINED=laion"
    )
    assert "-c bundle=models/ViT-B-32-quickgelu-openai " in make("deploy-cdk")
    assert "synth_only" not in make("deploy-cdk")


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


def test_everything_is_checked_before_the_long_export() -> None:
    output = make("deploy-cdk")
    checks = re.search(r"tools\.deploy check (.*?) -c ", output)
    assert checks
    assert checks[1].split() == list(deploy.CHECKS)
    assert checks.end() < output.index('/bundle.json" || ')


def test_a_pipeline_chooses_approval_and_destroys_without_a_question() -> None:
    assert "--require-approval broadening " in make("deploy-cdk", "APPROVAL=broadening")
    assert "--force" in make("destroy", "YES=1")
    assert "--force" not in make("destroy")


@pytest.mark.parametrize(
    ("bundle", "made"),
    [("models/ViT-L-14-laion", "made: model\n"), ("models/mine", ""), ("models/demo", "")],
)
def test_the_whole_way_from_the_missing_bundle_to_the_first_answer(
    programs: Programs, bundle: str, made: str
) -> None:
    programs.aws(apigateway__get_api_key="secret")
    with endpoint(502) as (url, seen):
        file = outputs(programs.folder, url, ApiKeyCommand="aws apigateway get-api-key")
        # As the real one would, it makes what was to be deployed.
        programs.add(
            "cdk",
            f'echo "cdk $* BUILDX_BUILDER=$BUILDX_BUILDER"; mkdir -p build; test -e "{bundle}" ||'
            f' ln -s "{DEMO}" "{bundle}"; cp {file} build/outputs.json',
        )
        path = f"{programs.folder}{os.pathsep}{os.environ['PATH']}"
        words = [
            f"BUNDLE={bundle}",
            "MODEL=ViT-L-14",
            "PRETRAINED=laion",
            f"CDK={programs.folder}/cdk",
            "MAKE=echo made:",
        ]
        # One that leaves its images in a container, where the CDK doesn't find them.
        environment = outside(PATH=path, BUILDX_BUILDER="in-a-container", AWS_REGION="eu-central-1")
        folder = workspace(programs.folder, bundle)
        command = ["make", "--silent", "--old-file", ".venv/deploys", "deploy-cdk", *words]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split(
        f"cdk deploy -c bundle={bundle} --require-approval never --outputs-file build/outputs.json"
        " BUILDX_BUILDER=\n"
    )
    assert before == f"{made}made: --no-print-directory {programs.folder}/cdk\n"
    assert "502" in after
    assert "It answered after 1." in after
    assert [request["x-api-key"] for request in seen] == ["secret", "secret"]


def workspace(folder: Path, bundle: str) -> Path:
    """A copy of the repository in which a deployment may write; its bundle is the demo's once `make
    model` was called.
    """
    work = folder / "work"
    work.mkdir()
    for name in (
        "Makefile",
        "cdk.json",
        "tools",
        "stacks",
        "lambdas",
        "examples",
        "pyproject.toml",
    ):
        (work / name).symlink_to(ROOT / name)
    (work / ".venv").symlink_to(ROOT / ".venv")
    (work / "models").mkdir()
    if bundle != "models/ViT-L-14-laion":
        (work / bundle).symlink_to(DEMO)
    else:
        (work / "models" / "made").symlink_to(DEMO)
    return work


def test_a_failing_npm_says_why(tmp_path: Path) -> None:
    # As npm does: with --silent not even its errors are printed.
    script = (
        'case " $* " in *" --silent "*) ;; *) echo "npm error code ENOTFOUND" >&2;; esac; exit 1'
    )
    programs = Programs(tmp_path)
    programs.add("npm", script)
    command = [
        "make",
        "--silent",
        "--always-make",
        f"CDK={tmp_path}/bin/cdk",
        f"{tmp_path}/bin/cdk",
    ]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=ROOT, env=outside(PATH=path), capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "npm error code ENOTFOUND" in done.stderr


def python(folder: Path, name: str, version: tuple[int, int] | None) -> None:
    """A Python of that version; None: one that a version manager lists but can't run."""
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1])" if version else ""
    script = (
        f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$2"\n'
        if version
        else "#!/bin/sh\nexit 127\n"
    )
    (folder / name).write_text(script, encoding="utf-8")
    (folder / name).chmod(stat.S_IRWXU)


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        ({"python3.11": (3, 11), "python3.13": (3, 13), "python3": (3, 13)}, "python3.11"),
        ({"python3.11": None, "python3.13": (3, 13), "python3": (3, 13)}, "python3.13"),
        ({"python3.14": (3, 14), "python3": (3, 9)}, "python3.14"),
        ({"python3": (3, 15)}, "python3"),
        ({"python3": (3, 9)}, ""),
        ({}, ""),
    ],
)
def test_the_environment_is_made_with_the_first_python_that_is_new_enough(
    tmp_path: Path, installed: dict[str, tuple[int, int] | None], chosen: str
) -> None:
    for name in ("sh", "sed", "make"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    for name, version in installed.items():
        python(tmp_path, name, version)
    assert variable("PYTHON", tmp_path, VENV="none") == chosen
    if not chosen:
        command = ["make", "--silent", f"VENV={tmp_path}/venv", f"{tmp_path}/venv/serves"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (
            "Python 3.11 or newer is needed. Install it, or name yours: make setup"
            " PYTHON=/path/to/python3" in done.stdout
        )


def variable(name: str, path: Path, **variables: str) -> str:
    """What make has for a variable, where only the programs of one folder are to be found."""
    command = [
        "make",
        "--no-print-directory",
        "-f",
        "Makefile",
        "-f",
        "-",
        *(f"{key}={value}" for key, value in variables.items()),
        "shown",
    ]
    rule = f"shown: ; $(info $({name}))\n\t@:\n"
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": str(path)},
        input=rule,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[0]


def test_after_the_environment_is_made_only_its_python_is_used(tmp_path: Path) -> None:
    """Where there is neither python3.11 nor any other Python on PATH."""
    for name in ("sh", "sed", "make"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    assert variable("PYTHON", tmp_path) == ".venv/bin/python"
    assert variable("DEPLOYED", tmp_path) == "models/ViT-B-32-quickgelu-openai"


def test_a_template_is_made_of_the_demo_only_where_no_bundle_was_named() -> None:
    assert "cdk synth --quiet -c memory=2048 -c bundle=models/demo -c synth_only=true\n" in make(
        "synth", "SETTINGS=memory=2048", "DEPLOYED=models/none"
    )
    assert "-c bundle=models/none -c synth_only=true\n" in make("synth", "BUNDLE=models/none")


@pytest.mark.parametrize(
    ("words", "noted"), [(["DEPLOYED=models/none"], True), (["BUNDLE=models/demo"], False)]
)
def test_a_template_made_of_the_demo_unasked_says_so(
    programs: Programs, words: list[str], noted: bool
) -> None:
    programs.add("cdk", "exit 0")
    cdk = f"{programs.folder}/cdk"
    command = [
        "make",
        "--silent",
        "--old-file",
        ".venv/deploys",
        "--old-file",
        cdk,
        f"CDK={cdk}",
        "synth",
        *words,
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=outside(), capture_output=True, text=True, check=True
    )
    assert ("doesn't exist: the template is made with the demo bundle" in done.stdout) == noted


def test_removal_and_bootstrap_need_no_bundle() -> None:
    for target in ("destroy", "bootstrap"):
        output = make(target, "SETTINGS=name=mine bundle=models/gone")
        assert f"cdk {target} -c name=mine -c bundle=models/demo -c synth_only=true" in output


def test_no_checkout_changes_a_byte_of_what_is_hashed(tmp_path: Path) -> None:
    """As on Windows, where git writes carriage returns unless the repository says otherwise."""
    files = [
        path
        for folder in ("lambdas/classifier", "models/demo")
        for path in (ROOT / folder).iterdir()
        if path.is_file()
    ]
    for file in [ROOT / ".gitattributes", *files]:
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    git = [
        "git",
        "-C",
        str(tmp_path),
        "-c",
        "core.autocrlf=true",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
    ]
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["commit", "-qm", "all"],
        ["rm", "-rq", "lambdas", "models"],
        ["checkout", "HEAD", "--", "."],
    ):
        subprocess.run([*git, *command], check=True, capture_output=True)
    assert [
        file
        for file in files
        if (tmp_path / file.relative_to(ROOT)).read_bytes() != file.read_bytes()
    ] == []


# The kernel's own words, as `uname -v` has them; Darwin 22 is macOS 13, and 23 is macOS 14.
LINUX = (
    "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)",
    "#1 SMP Tue Nov 5 00:21:55 UTC 2024",
    "",
)
DARWIN = "Darwin Kernel Version {}: Wed Jul 5 22:22:05 PDT 2023; root:xnu-8796.141.3~6/RELEASE_{}"
MACHINES = [
    *(("linux", machine, words, "1.32.0") for machine in ("x86_64", "aarch64") for words in LINUX),
    *(
        ("darwin", "x86_64", DARWIN.format(kernel, "X86_64"), "1.23.2")
        for kernel in ("22.6.0", "23.6.0", "24.1.0")
    ),
    *(
        ("darwin", "arm64", DARWIN.format(kernel, "ARM64_T6000"), "1.32.0")
        for kernel in ("23.0.0", "24.1.0", "25.22.0")
    ),
    ("darwin", "arm64", DARWIN.format("22.6.0", "ARM64_T6000"), "1.23.2"),
]


@pytest.mark.parametrize(("system", "machine", "words", "release"), MACHINES)
def test_each_machine_gets_the_last_onnxruntime_made_for_it(
    system: str, machine: str, words: str, release: str
) -> None:
    """Not by platform_release: pip 24.1 to 25 fail on a Linux kernel's name, which is no version,
    wherever a marker compares it.
    """
    from packaging.requirements import Requirement

    lines = (
        (ROOT / "lambdas" / "classifier" / "requirements.txt")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    requirements = [Requirement(line) for line in lines if line.startswith("onnxruntime")]
    environment = {"sys_platform": system, "platform_machine": machine, "platform_version": words}
    chosen = [
        str(entry.specifier)
        for entry in requirements
        if not entry.marker or entry.marker.evaluate(environment)
    ]
    assert chosen == [f"=={release}"]
