"""Tidegate: proves ONNX models before they get traffic, serves them, and shifts traffic between versions.

The map of the house is in CONTRIBUTING.md; the layers are checked by import-linter.
"""
