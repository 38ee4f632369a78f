"""What `tidegate` does in a cluster for a person: with their kubeconfig and rights, and nothing of the operator's.

Quick to load, for the sake of `tidegate status`: urllib3 and PyYAML take 0.06 s, `kubernetes.config` 0.5 s, the API's
types 0.2 s (one core of a busy machine).
"""
