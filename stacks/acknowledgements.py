"""Acknowledges findings of cdk-nag, each with the reason why it stays."""

from collections.abc import Mapping

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def acknowledge(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """`reasons` by rule, such as AwsSolutions-SF2."""
    for rule, reason in reasons.items():
        Validations.of(construct).acknowledge(
            Acknowledgment(id=f"{rule.partition('-')[0]}::{rule}", reason=reason)
        )
