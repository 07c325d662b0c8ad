"""What every other room stands on: errors, the clock, credentials, caches. It imports nothing else of `streams`."""
