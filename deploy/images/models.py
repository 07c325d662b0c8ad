"""Write the model repository of an image: `python -m deploy.images.models FOLDER MODEL BACKEND PRECISION`.

`FOLDER/repository` is what Triton serves, `FOLDER/prepared` the unpacked model and its graph; both are read in place.
"""

from __future__ import annotations

import sys
from pathlib import Path

from encoders.errors import ModelError
from encoders.export import export


def main() -> None:
    """Export; ends with 2 where the model cannot be served."""
    folder, model, backend, precision = sys.argv[1:]
    try:
        done = export(
            model, Path(folder) / "repository", backend=backend, cache=Path(folder) / "prepared", precision=precision
        )
    except ModelError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"{done.encoder_id}, {done.dim} dimensions, proved on {done.backend}")


if __name__ == "__main__":
    main()
