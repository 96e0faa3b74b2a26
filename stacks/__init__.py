"""The CDK stack. Of the package that it deploys it imports the room `contract/` alone."""
