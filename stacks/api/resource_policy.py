"""Which callers the API lets in."""

from aws_cdk import aws_iam as iam

from classifier.contract.routes import GUARDED, OPEN, PREFLIGHTS
from stacks.settings.deployment import Settings


def resource_policy(settings: Settings) -> iam.PolicyDocument | None:
    """None if everyone may try.

    Networks are kept out by a Deny: with authentication=iam an Allow for a network would let in
    every AWS account there.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-authorization-flow.html
    """
    conditions: dict[str, dict[str, object]] = {}
    if settings.allowed_ips:
        conditions = {"NotIpAddress": {"aws:SourceIp": list(settings.allowed_ips)}}
    elif settings.vpc_endpoint:
        conditions = {"StringNotEquals": {"aws:SourceVpce": settings.vpc_endpoint}}
    elif settings.authentication != "iam":
        return None

    def statement(
        effect: iam.Effect, principal: iam.IPrincipal, *paths: str, **options: object
    ) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            effect=effect,
            principals=[principal],
            actions=["execute-api:Invoke"],
            resources=[f"execute-api:/*{path}" for path in sorted(paths)] or ["execute-api:/*"],
            conditions=options or None,
        )

    anyone = iam.AnyPrincipal()
    if settings.authentication == "iam":
        account = iam.AccountRootPrincipal()
        # In a policy a parameter is a *.
        signed = [f"/{route.method}{route.path}".replace("{id}", "*") for route in GUARDED]
        # The playground can't sign what it sends.
        unsigned = [f"/{route.method}{route.path}" for route in OPEN if not route.playground]
        preflights = [f"/OPTIONS{path}".replace("{id}", "*") for path in PREFLIGHTS]
        statements = [
            statement(iam.Effect.ALLOW, account, *signed),
            statement(iam.Effect.ALLOW, anyone, *unsigned, *preflights),
        ]
    else:
        statements = [statement(iam.Effect.ALLOW, anyone)]
    if conditions:
        statements.append(statement(iam.Effect.DENY, anyone, **conditions))
    return iam.PolicyDocument(statements=statements)
