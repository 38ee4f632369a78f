"""The `tidegate` command: reads arguments, calls one function of another package, prints what it returned."""
