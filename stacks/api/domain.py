"""A name of one's own for the API."""

from typing import cast

from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_route53 as route53
from constructs import Construct

from stacks.settings.deployment import Settings


def add_domain(scope: Construct, rest: apigateway.RestApi, settings: Settings) -> None:
    """The domain with its certificate, and its records for IPv4 and IPv6 in the hosted zone."""
    domain = rest.add_domain_name(
        "Domain",
        domain_name=str(settings.domain),
        certificate=acm.Certificate.from_certificate_arn(
            scope, "Certificate", str(settings.certificate)
        ),
        endpoint_type=apigateway.EndpointType.REGIONAL,
        security_policy=apigateway.SecurityPolicy.TLS_1_2,
    )
    resource = cast(apigateway.CfnDomainName, domain.node.default_child)
    resource.add_property_override("EndpointConfiguration.IpAddressType", "dualstack")
    # Without the zone's name, which would take a look-up at synthesis.
    for kind in ("A", "AAAA"):
        route53.CfnRecordSet(
            scope,
            f"Record{kind}",
            hosted_zone_id=settings.hosted_zone,
            name=str(settings.domain),
            type=kind,
            alias_target=route53.CfnRecordSet.AliasTargetProperty(
                dns_name=domain.domain_name_alias_domain_name,
                hosted_zone_id=domain.domain_name_alias_hosted_zone_id,
            ),
        )
