"""`python -m deploy.demo`: see `make demo`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.demo.runner import DATA_DIR, run


def main() -> int:
    """Read the command line and run the demo."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description="Play a day of traffic on this machine.")
    parser.add_argument(
        "--data", type=Path, help="a folder with items.jsonl[.gz] and events.jsonl[.gz] to play instead"
    )
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--data-dir", type=Path, default=DATA_DIR, help=f"where data and logs go (default: {DATA_DIR})")
    given = parser.parse_args()
    return run(given.data, keep=given.keep, data_dir=given.data_dir)


if __name__ == "__main__":
    sys.exit(main())
