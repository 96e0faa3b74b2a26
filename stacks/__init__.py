"""The CDK stack. Of the package that it deploys it imports `classifier.bundle` alone."""
