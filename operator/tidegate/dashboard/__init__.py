"""Rollouts live in a browser: what the page is told, and who serves it; where the rollouts come from is others' part.

`tidegate dashboard` feeds it from a person's own watches (`cluster/kubectl/following.py`), the operator from its cache
(`cluster/showing.py`).  The page in `page/` is plain HTML, CSS and JavaScript, as it is sent.
"""
