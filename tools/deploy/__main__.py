"""The steps around a deployment: checks before it, the account's role for logs, and the first call
after it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError
from tools.deploy.account import make_logging_role
from tools.deploy.answer import call_deployment
from tools.deploy.base_image import update_base
from tools.deploy.checks import CHECKS, check, context
from tools.deploy.machine import CheckError


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checks = commands.add_parser("check", help="report what is missing")
    checks.add_argument("names", nargs="+", choices=CHECKS)
    checks.add_argument(
        "-c",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="as for the CDK",
    )
    commands.add_parser(
        "logging-role", help="make the account's role for API Gateway's logs if there is none"
    )
    commands.add_parser("update-base", help="pin today's base image in cdk.json")
    waiting = commands.add_parser("wait", help="call a new deployment until it answers")
    waiting.add_argument("outputs", type=Path, help="cdk's --outputs-file")
    waiting.add_argument("bundle", type=Path, help="the bundle that was deployed")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "check":
            settings = Settings.read(
                context() | dict(text.partition("=")[::2] for text in arguments.settings)
            )
            if problems := check(arguments.names, settings):
                sys.exit("\n".join(["This is missing:", *problems]))
        elif arguments.command == "logging-role":
            make_logging_role()
        elif arguments.command == "update-base":
            print(f"cdk.json now pins {update_base()}. Deploy it: make deploy-cdk")
        else:
            (outputs,) = json.loads(arguments.outputs.read_text(encoding="utf-8")).values()
            sys.exit(not call_deployment(outputs, arguments.bundle))
    except (CheckError, SettingsError) as err:
        sys.exit(f"error: {err}")


if __name__ == "__main__":
    main()
