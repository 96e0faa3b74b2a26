"""The CDK stack. It knows lambdas/classifier as a path, never as an import."""
