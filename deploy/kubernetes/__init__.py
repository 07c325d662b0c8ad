"""The Helm chart and its examples, and what of them is made from the code. Nothing but tests imports it."""
