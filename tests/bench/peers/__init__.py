"""The same job written with other libraries, to be measured beside the worker: see docs/performance.md.

`plain`, `quix` and `pathway` each run as a process in an environment of their own (`make peers`), so they import
nothing of the project but `job` and `trees` beside them. `race` starts them and the worker in turn, `check` holds what
each has written to what the events say.
"""
