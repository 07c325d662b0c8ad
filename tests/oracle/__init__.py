"""What should have come out: events made from a seed, a ledger of what was acknowledged, a plain fold, the check.

Nothing here uses the fold, the plan or the weights of `streams.interests`: the sums are written a second time, as they
stand in the design, one event at a time in float64.
"""
