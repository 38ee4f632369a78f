"""A client of the servers' internal endpoints: what they counted, and what a plan asks of them.

Shared by `local` and `cluster`, which know where the servers are.
"""
