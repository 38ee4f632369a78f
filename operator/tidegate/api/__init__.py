"""What users write and what they read back: the spec and the status of a ModelDeployment.

The types are the only source: the CustomResourceDefinition, its CEL rules and docs/manifest.md are generated from them.
"""
