"""docs/settings.md, made from the settings themselves: `python -m streams.settings.document`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from streams.base.credentials import without_credentials
from streams.settings.service import Settings

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
_HIDDEN: Final = "••••••"
_BOUNDS: Final = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
_HEAD: Final = """# Settings

Made from `streams/settings/` by `python -m streams.settings.document`; a test holds the two together.

Every setting is read once, at the start. Three places say what it is, the earlier over the later:

1. an environment variable, `INTERESTS_<SECTION>__<NAME>`; lists and tables in JSON:
   `INTERESTS_KAFKA__EVENT_TOPICS='["clicks", "events"]'`, `INTERESTS_NODES__HALF_LIFE_S='{"topic": 864000}'`
2. a TOML file, named by `INTERESTS_CONFIG`, or `interests.toml` in the working directory
3. the default below

```toml
# interests.toml
[kafka]
brokers = "kafka-1:9092,kafka-2:9092"
event_topics = ["clicks", "comments", "events"]

[nodes.half_life_s]
topic = 864_000
```

What does not fit (an unknown name in a section, a value out of bounds) ends a command with exit code 2 and the
setting's name, never its value; a variable `INTERESTS_...` of no section is not looked at. `interests settings` prints
what is in force, secrets hidden. Names say their units: `_s` seconds, `_ms` milliseconds, `_mib` mebibytes.
"""


class Row(NamedTuple):
    """One setting: its name with a dot, its environment variable, the field, and its value where it is in force."""

    name: str
    variable: str
    field: FieldInfo
    value: Any


def rows(settings: Settings) -> Iterator[tuple[str, str, list[Row]]]:
    """Each section's name, what it is about, and its settings."""
    for section in type(settings).model_fields:
        model: BaseModel = getattr(settings, section)
        about = (type(model).__doc__ or "").strip()
        yield (
            section,
            about,
            [
                Row(f"{section}.{name}", f"INTERESTS_{section}__{name}".upper(), field, getattr(model, name))
                for name, field in type(model).model_fields.items()
            ],
        )


def shown(value: Any) -> str:
    """A value as it is shown: secrets hidden, nothing as a dash, the rest as JSON or plain text."""
    if value is None:
        return "–"
    if isinstance(value, SecretStr):
        return _HIDDEN
    if isinstance(value, (str, Path)):
        return without_credentials(str(value))
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, dict):
        plain = {key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in value.items()}
        return without_credentials(json.dumps(plain))
    return without_credentials(json.dumps(value, ensure_ascii=False))


def bounds(field: FieldInfo) -> str:
    """What values a setting may take: `> 0`, `≥ 1, ≤ 65535`, or its choices."""
    limits = [
        f"{sign} {getattr(one, name):g}" for one in field.metadata for name, sign in _BOUNDS if hasattr(one, name)
    ]
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(choices)
    return ", ".join(limits)


def markdown(settings: Settings) -> str:
    """The whole page, with the values of `settings` as the defaults."""
    lines = [_HEAD]
    for section, about, mine in rows(settings):
        lines += [f"## {section}", "", about, "", "| setting | default | takes | what it is |", "|---|---|---|---|"]
        for row in mine:
            cells = (f"`{row.name}`", f"`{shown(row.value)}`", bounds(row.field), row.field.description or "")
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def defaults() -> Settings:
    """The settings as they are without a file and an environment."""
    return Settings.model_construct(**{name: field.default for name, field in Settings.model_fields.items()})


def main() -> None:
    """Write the file."""
    FILE.write_text(markdown(defaults()), encoding="utf-8")
    sys.stdout.write(f"{FILE.name}\n")


if __name__ == "__main__":
    main()
