"""Every setting, and what the settings make: policies, connections, logging. Nothing here connects or runs."""
