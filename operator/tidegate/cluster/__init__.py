"""Effects on Kubernetes: watch, observe, carry out what `tidegate.plan` wants, write status, lead, answer probes."""
