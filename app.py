"""The CDK app: settings from cdk.json or -c name=value, and one stack made from them."""

import os
import sys
from pathlib import Path

import aws_cdk as cdk

from classifier.engine.check import check_prompts
from stacks.bundle import Bundle
from stacks.classifier_stack import ClassifierStack
from stacks.settings.deployment import Settings
from stacks.settings.errors import SettingsError

ROOT = Path(__file__).parent


def main() -> None:
    app = cdk.App()
    try:
        settings = Settings.read(app.node.get_all_context())
        # The CDK's command line sets this. A template to look at may be made without a region: the
        # CDK then names one.
        if (region := os.environ.get("CDK_DEFAULT_REGION")) and not settings.synth_only:
            settings.check_region(region)
        bundle = Bundle.read(ROOT, settings, check_prompts)
        for message in bundle.left_out:
            print(f"classifiers=all leaves out: {message}", file=sys.stderr)
        for message in bundle.doubts:
            print(f"warning: {message}", file=sys.stderr)
        ClassifierStack(app, settings=settings, bundle=bundle, root=ROOT)
    except SettingsError as err:
        sys.exit(f"error: {err}")
    app.synth()


if __name__ == "__main__":
    main()
