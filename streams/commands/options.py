"""Options and arguments that several commands have with the same meaning; each command says its own default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def writable(folder: Path | None) -> Path | None:
    """The folder that is to be written into, or made; typer.BadParameter where it cannot be, before anything is done.

    A `callback` of options. What is missing on the way to it counts as a folder that will be made.
    """
    if folder is None:
        return None
    at = folder
    try:
        while not at.exists():
            at = at.parent
        if not at.is_dir():
            raise typer.BadParameter(f"{folder} cannot be made: {at} is a file; name another folder")
        reason = "" if os.access(at, os.W_OK | os.X_OK) else "it may not be written by this user, or is read-only"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise typer.BadParameter(f"{folder} cannot be written ({at}: {reason}); name another folder")
    return folder


# A log in files.
Items = Annotated[
    list[Path], typer.Option("--items", exists=True, dir_okay=False, help="JSON lines of items. Repeatable.")
]
Events = Annotated[
    list[Path], typer.Option("--events", exists=True, dir_okay=False, help="JSON lines of events. Repeatable.")
]
OptionalItems = Annotated[
    list[Path] | None, typer.Option("--items", exists=True, dir_okay=False, help="JSON lines of items. Repeatable.")
]
OptionalEvents = Annotated[
    list[Path] | None, typer.Option("--events", exists=True, dir_okay=False, help="JSON lines of events. Repeatable.")
]
Users = Annotated[int | None, typer.Option("--users", min=1, help="Only the first so many users (with impressions).")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many events in time order.")]
LogName = Annotated[str | None, typer.Option("--name", help="What the log is called; else the events' folder.")]
Samples = Annotated[int, typer.Option("--seed", min=0, help="The same seed and log give the same samples.")]
Results = Annotated[Path, typer.Option("--out", file_okay=False, callback=writable, help="Folder of what is written.")]

# A text encoder.
Encoder = Annotated[str, typer.Option("--encoder", help="A packaged model or a Hugging Face model directory.")]
Triton = Annotated[str | None, typer.Option("--triton", help="Encode with the Triton at this address instead.")]
Cache = Annotated[
    Path, typer.Option("--cache", file_okay=False, callback=writable, help="Where models and encoded texts are kept.")
]
ModelFolder = Annotated[
    str, typer.Argument(metavar="MODEL_DIR", help="A Hugging Face model directory, or the name of a packaged model.")
]
ModelCache = Annotated[
    Path | None, typer.Option("--cache", file_okay=False, callback=writable, help="Where prepared models are kept.")
]
EncoderInUse = Annotated[str, typer.Option("--to", help="The encoder's id, or its model's name in Triton.")]

# Triton's repository.
Repository = Annotated[
    Path, typer.Option("--out", file_okay=False, callback=writable, help="Triton's model repository.")
]
Backend = Annotated[str, typer.Option("--backend", help="auto, torch or openvino.")]

# What is asked, and shown.
User = Annotated[str, typer.Argument(help="The user's id.", metavar="USER", show_default=False)]
Evidence = Annotated[int, typer.Option("--evidence", min=0, max=8, help="Events shown under each interest.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
