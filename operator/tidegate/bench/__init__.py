"""How much load a server of a model bears: requests at rates of their own, and the highest rate that holds a limit.

The parts: `requests` (what is sent), `connection` and `loops` (when it is sent), `record` (what came of it), `run` (one
level of load), `knee` (which level is next, decided without I/O), `sweep` (all of it), `scaling` (what follows for the
autoscaler), `plot` and `served` (the server, where there is none yet).
"""
