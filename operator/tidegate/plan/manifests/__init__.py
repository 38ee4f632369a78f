"""The Kubernetes objects that a plan stands for, as dicts: pure, and the same text for the same question."""
