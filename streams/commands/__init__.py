"""The command line: one module a command, thin; what computes is pure and beside it."""
