"""The CDK stack. Of the package that it deploys it imports the contracts alone: `bundle`, `schema`,
`parsing` and `errors`.
"""
