import re

from tests.support.requests import ROOT
from tests.support.stacks import COMBINATIONS
from tests.support.synthesis import Synth

# What AWS bills nothing for: parts of something that has a row, rights, and records of a zone that
# is the user's own.
FREE = {
    "ApiGateway::ApiKey",
    "ApiGateway::BasePathMapping",
    "ApiGateway::Deployment",
    "ApiGateway::DomainName",
    "ApiGateway::GatewayResponse",
    "ApiGateway::Method",
    "ApiGateway::Resource",
    "ApiGateway::UsagePlan",
    "ApiGateway::UsagePlanKey",
    "IAM::Policy",
    "IAM::Role",
    "Lambda::EventSourceMapping",
    "Lambda::Permission",
    "Lambda::Version",
    "Route53::RecordSet",
    "S3::BucketPolicy",
    "SNS::Subscription",
    "SNS::TopicPolicy",
    "SQS::QueuePolicy",
}


def test_every_resource_is_billed_as_the_guide_says_or_is_known_to_be_free(synth: Synth) -> None:
    guide = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    billed = re.findall(r"^\| `(\w+::\w+)` \|", guide, re.MULTILINE)
    made = {
        resource["Type"].removeprefix("AWS::")
        for settings in COMBINATIONS.values()
        for resource in synth(**settings).template["Resources"].values()
    }
    assert len(billed) == len(set(billed))
    assert not FREE & set(billed)
    assert made == FREE | set(billed)
