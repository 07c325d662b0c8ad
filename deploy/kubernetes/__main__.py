"""`python -m deploy.kubernetes` writes what of the chart and its examples is made from other files."""

from __future__ import annotations

import sys

from deploy.kubernetes.generated import FOLDER, generated, stale


def main() -> None:
    """Write the files, and remove copies of files that are gone."""
    for file in stale():
        file.unlink()
    for file, text in generated().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{file.relative_to(FOLDER)}\n")


if __name__ == "__main__":
    main()
