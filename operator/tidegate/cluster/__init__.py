"""Effects on Kubernetes: watch, observe, carry out what `tidegate.plan` wants, write the status, lead, answer probes."""
