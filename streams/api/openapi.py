"""docs/openapi.json, written from the application: `python -m streams.api.openapi`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from streams.api.app import create_app
from streams.settings.document import defaults

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def text() -> str:
    """The document as the file holds it, whatever the environment sets; without the version, which is the package's."""
    document = create_app(defaults()).openapi()
    document["info"]["version"] = "0"
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Write the file."""
    FILE.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{FILE.name}\n")


if __name__ == "__main__":
    main()
