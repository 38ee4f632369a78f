"""What only servers on a GPU need: options of its providers, bound runs, engines kept, faults told apart, NVML."""
