"""The commands of README.md and docs/deploy.md, from an empty account to a deleted stack."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.deployment.conftest import BUNDLE
from tests.support.account import Account
from tests.support.account_files import REGION
from tests.support.requests import ROOT

# Version 1 of AWS's command line doesn't read AWS_REGION, which the tools get along with.
CLI = ("aws", "--region", REGION)


def documented(guide: str, start: str) -> str:
    """The one line of a guide that begins so."""
    (line,) = {line for line in (ROOT / guide).read_text().splitlines() if line.startswith(start)}
    return line


def commit(aws: Account) -> str:
    """Of all that was changed; the new commit's name."""
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")
    aws.run(*git, "commit", "--quiet", "--all", "--message=A change")
    return aws.run(*git, "rev-parse", "HEAD").stdout.strip()


def outputs(aws: Account) -> dict[str, str]:
    (values,) = json.loads((aws.folder / "build" / "outputs.json").read_bytes()).values()
    return dict(values)


def deploy(aws: Account, settings: str = "", **variables: str) -> str:
    named = [f"SETTINGS={settings}"] if settings else []
    return aws.run("make", "deploy-cdk", *named, check=True, **variables).stdout


def ask(
    aws: Account,
    *options: str,
    path: str = "?labels=a+dog&labels=a+cat",
    image: str = "examples/images/dog.jpg",
) -> tuple[int, str]:
    """Status and body, by the curl line of the guide with other options."""
    url = outputs(aws)["Url"] + path
    body = ("--data-binary", f"@{image}", "-H", "Content-Type: image/jpeg")
    done = aws.run("curl", "-s", "-w", "\n%{http_code}", *body, *options, url)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


@pytest.fixture(scope="session")
def key(aws: Account) -> str:
    return "x-api-key: " + aws.run(*outputs(aws)["ApiKeyCommand"].split()).stdout.strip()


def test_bootstrap_and_deployment_lead_to_the_first_answer(aws: Account) -> None:
    refused = aws.run("make", "deploy-cdk", check=False)
    assert refused.returncode and refused.stderr.count("make bootstrap") == 2
    bootstrapped = aws.run("make", "bootstrap").stdout
    assert "Successfully created/updated stack - api-gateway-logging" in bootstrapped
    assert "API Gateway writes its logs with" in aws.run("make", "bootstrap").stdout
    assert "It answered after" in deploy(aws)
    made = {path.name for path in (aws.folder / "models").iterdir()}
    assert made == {"demo", Path(BUNDLE).name}


def blocks(guide: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)\n```$", (ROOT / guide).read_text(), re.M | re.S)
    return [str(block) for block in found]


def call(aws: Account, line: str) -> dict[str, dict[str, float]]:
    """The answer to a guide's call with the two values that the outputs give."""
    values = outputs(aws)
    lines = [f"URL={values['Url']}", f"KEY=$({values['ApiKeyCommand']})", line]
    return dict(json.loads(aws.run("bash", "-ec", "\n".join(lines)).stdout))


def test_the_documented_calls_are_answered(aws: Account) -> None:
    printed = documented("docs/deploy.md", "curl -s --data-binary @examples/images/dog.jpg")
    answer = call(aws, printed)
    assert list(answer["result"]) == ["a dog", "a cat", "something else"]
    assert max(answer["result"], key=answer["result"].__getitem__) == "a dog"
    # README prints the call of a local server, what to add for an endpoint, and the answer.
    added = '-H "x-api-key: $KEY"'
    assert f"add `{added}` to each call" in (ROOT / "README.md").read_text().replace("\n", " ")
    (line,) = blocks("README.md", "sh")
    expected, *_ = blocks("README.md", "json")
    answer = call(aws, f"{line} {added}")
    assert answer["result"] == pytest.approx(json.loads(expected)["result"], abs=0.02)


def test_an_image_of_7_mb_is_refused_in_the_apis_own_form(aws: Account, key: str) -> None:
    (aws.folder / "build/large.jpg").write_bytes(bytes(7_000_000))
    status, text = ask(aws, "-H", key, image="build/large.jpg")
    assert (status, json.loads(text)["code"]) == (413, "too_large")


def test_who_has_no_key_or_asks_for_nothing_is_refused_in_the_apis_own_form(
    aws: Account, key: str
) -> None:
    forbidden = {"code": "forbidden", "message": "The API key is missing or wrong; send it in the"}
    for options in ((), ("-H", "x-api-key: wrong")):
        status, text = ask(aws, *options)
        assert (status, json.loads(text)["code"]) == (403, forbidden["code"])
        assert json.loads(text)["message"].startswith(forbidden["message"])
    status, text = ask(aws, "-H", key, path="nothing")
    assert (status, json.loads(text)["code"]) == (404, "not_found")
    headers = aws.run("curl", "-s", "-i", "-X", "OPTIONS", outputs(aws)["Url"]).stdout
    assert re.match(r"HTTP/\S+ 204", headers)
    assert "access-control-allow-headers: " in headers.lower()


def test_a_change_of_code_alone_is_waited_for_and_answers(aws: Account, key: str) -> None:
    before = outputs(aws)["Build"]
    with (aws.folder / "lambdas/classifier/api/own.py").open("a") as file:
        file.write("# Changed.\n")
    assert "It answered after" in deploy(aws)
    assert outputs(aws)["Build"] != before
    headers = aws.run("curl", "-s", "-i", outputs(aws)["Url"] + "health").stdout.lower()
    assert f"+{outputs(aws)['Build']}" in headers


def test_the_endpoints_cold_starts_are_measured(aws: Account, key: str) -> None:
    values = outputs(aws)
    command = (
        f"make benchmark NAME=endpoint URL={values['Url']} KEY={key.split()[1]}"
        f" FUNCTION={values['FunctionName']} COLD_STARTS=1"
    )
    assert "first calls: median " in aws.run("bash", "-ec", f"echo y | {command}").stdout
    query = ("--query", "Environment.Variables.COLD_START")
    configuration = (*CLI, "lambda", "get-function-configuration", "--function-name")
    assert aws.run(*configuration, values["FunctionName"], *query).stdout.strip() == "null"


def test_a_burst_is_refused_in_the_apis_own_form(aws: Account, key: str) -> None:
    url = outputs(aws)["Url"] + "classifiers"
    burst = f"for i in $(seq 30); do curl -s -H '{key}' {url} & done; wait"
    codes = re.findall('"code": "([a-z_]+)"', aws.run("bash", "-c", burst).stdout)
    assert set(codes) == {"too_many_requests"}


def test_a_setting_and_todays_base_image_are_deployed(aws: Account) -> None:
    assert (
        "cdk.json now pins public.ecr.aws/lambda/python:3.13@sha256:"
        in aws.run("make", "update-base").stdout
    )
    assert "It answered after" in deploy(aws, "memory=2048 playground=true")
    name = outputs(aws)["FunctionName"]
    query = ("--query", "MemorySize", "--output", "text")
    configuration = (*CLI, "lambda", "get-function-configuration", "--function-name", name)
    assert aws.run(*configuration, *query).stdout.strip() == "2048"
    assert "<form" in aws.run("curl", "-s", outputs(aws)["Url"]).stdout


def test_the_workflow_checks_by_the_commands_of_the_gate(aws: Account) -> None:
    """But for `make synth`, which here has the job's variables and no bundle."""
    workflow = yaml.safe_load((aws.folder / "examples/github/deploy.yml").read_text())
    job = workflow["jobs"]["check"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    gate = (ROOT / ".ci/run").read_text()
    assert [f"step {name.removeprefix('make ')}\n" in gate for name in commands] == [True] * 3
    assert commands[-1] == "make synth"
    kept = aws.folder / BUNDLE
    kept.rename(aws.folder / "build" / "kept")
    printed = aws.run("bash", "-ec", commands[-1], **workflow["env"], **job.get("env", {})).stdout
    (aws.folder / "build" / "kept").rename(kept)
    assert "the template is made with the demo bundle" in printed


def test_the_workflow_deploys_and_takes_a_failing_commit_back(aws: Account) -> None:
    """The commands of its job, with the variables that GitHub would fill in."""
    workflow = yaml.safe_load((aws.folder / "examples/github/deploy.yml").read_text())
    job = workflow["jobs"]["deploy"]
    sha256, archive = aws.run("make", "pack", f"BUNDLE={BUNDLE}").stdout.split()
    aws.run(*CLI, "s3", "mb", "s3://bundles")
    aws.run(*CLI, "s3", "cp", archive, "s3://bundles/bundle.tar")
    shutil.rmtree(aws.folder / BUNDLE)
    before = commit(aws)
    filled = {
        "vars.BUNDLE_FROM": "s3://bundles/bundle.tar",
        "vars.BUNDLE_SHA256": sha256,
        "github.event.before": before,
    }

    def job_fails() -> tuple[bool, str]:
        failed = False
        printed = ""
        for step in job["steps"]:
            script = step.get("run")
            if not script or ("if" in step) != failed:
                continue
            for name, value in filled.items():
                script = script.replace(f"${{{{ {name} }}}}", value)
            done = aws.run("bash", "-ec", script, check=False, **workflow["env"], **job["env"])
            failed = failed or done.returncode != 0
            printed = done.stdout + done.stderr
        return failed, printed

    failed, printed = job_fails()
    assert not failed, printed
    build = outputs(aws)["Build"]
    with (aws.folder / "lambdas/classifier/Dockerfile").open("a") as file:
        file.write("RUN false\n")
    commit(aws)
    shutil.rmtree(aws.folder / BUNDLE)
    failed, printed = job_fails()
    assert failed
    assert "It answered after" in printed
    assert outputs(aws)["Build"] == build


def test_with_iam_the_examples_sign_and_others_are_refused(aws: Account) -> None:
    assert "It answered after" in deploy(aws, "authentication=iam")
    assert ask(aws)[0] == 403
    aws.run("make", "examples-setup")
    example = (".venv/bin/python", "examples/classify.py", "examples/images/dog.jpg")
    labels = ("--labels", "a dog,a cat", "--endpoint", outputs(aws)["Url"])
    assert "a dog" in aws.run(*example, *labels, CLIP_AUTHENTICATION="iam").stdout


def test_diff_tells_a_changed_setting_and_destroy_leaves_what_the_guide_says(aws: Account) -> None:
    diff = aws.run("make", "diff", "SETTINGS=memory=2560")
    assert "2560" in diff.stdout + diff.stderr
    aws.run("make", "destroy", "YES=1")
    names = aws.run(
        *(*CLI, "cloudformation", "list-stacks", "--query"),
        "StackSummaries[?StackStatus!='DELETE_COMPLETE'].StackName",
    ).stdout
    assert set(json.loads(names)) == {"CDKToolkit", "api-gateway-logging"}
