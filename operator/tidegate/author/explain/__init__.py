"""Why a model answers what it answers: how much each part of an input adds to each output.

    explain("bundle", data, ExplainRequest(out=Path("explained")))

A part (a column, a patch of a picture, a step of a sequence) is taken away by giving it the value it has on average;
whatever the answer then loses is what the part had added.
"""
