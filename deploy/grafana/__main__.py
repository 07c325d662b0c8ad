"""Write Grafana's dashboards from `streams/dashboards/`: `python -m deploy.grafana`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.model import drawn
from streams.dashboards.catalogue import DASHBOARDS

FOLDER: Final = Path(__file__).resolve().parent / "dashboards"
_EXAMPLES: Final = """examples:
  python -m deploy.grafana                        write deploy/grafana/dashboards/*.json
  python -m deploy.grafana --check                end with 1 where the files are not those of the code
  python -m deploy.grafana --out /etc/grafana/dashboards --runbook https://docs.example.org/operations/
                                                  a copy whose panels link to your own pages
"""


def files(runbook: str = "") -> dict[str, str]:
    """The text of every file by its name; `runbook` as in `drawn`."""
    return {
        f"{dashboard.key}.json": json.dumps(drawn(dashboard, runbook), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for dashboard in DASHBOARDS
    }


def stale(folder: Path, wanted: dict[str, str]) -> list[str]:
    """Names of files in `folder` that are missing, other than wanted, or of no dashboard."""
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files, delete those of dashboards that are gone, and print what changed; or only check."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.grafana", description=__doc__, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the files (default: %(default)s)")
    parser.add_argument("--runbook", metavar="URL", default="", help="where docs/operations.md is, to link panels to")
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a file is out of date")
    given = parser.parse_args(arguments)
    wanted = files(given.runbook)
    names = stale(given.out, wanted)
    if given.check:
        sys.exit(f"out of date: {', '.join(names)}; run python -m deploy.grafana" if names else 0)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in wanted:
            (given.out / name).write_text(wanted[name], encoding="utf-8")
        else:
            (given.out / name).unlink()
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
