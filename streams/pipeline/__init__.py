"""A batch's path, from records to written nodes: `apply.py` shows it on one screen. It acknowledges nothing."""
