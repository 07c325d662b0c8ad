"""The whole service on one machine from pip packages, as child processes. `streams/` knows nothing of it."""
