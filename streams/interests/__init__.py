"""The mathematics of trees: nodes, the plan, the fold, scores. Pure: no server, no clock, no settings are read here."""
