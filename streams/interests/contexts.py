"""In what situation an event happened, as paths of the `context` level. Pure.

A context is free text of whoever sends events, and each of its values would be a node of a tree and a cohort. So the
values of every name are known beforehand: those of `KNOWN`, and those of the settings. Any other counts as `other`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from streams.base.errors import ConfigurationError

#: What a value counts as that is none of the known ones.
OTHER: Final = "other"
DAYPARTS: Final = frozenset({"night", "morning", "afternoon", "evening"})
#: ISO 639-1.
_LANGUAGES: Final = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv "
    "ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne "
    "ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st "
    "su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
#: Of these names the primary language counts, as BCP 47 has it: `pt-BR` is `pt`.
_BY_LANGUAGE: Final = frozenset({"locale", "language", "lang"})
#: The values that are known without any setting, by name.
KNOWN: Final[Mapping[str, Set[str]]] = {
    "daypart": DAYPARTS,
    "device": frozenset({"mobile", "tablet", "desktop", "tv", "watch", "console", "speaker", "car", "headset"}),
    "os": frozenset({"android", "ios", "windows", "macos", "linux", "chromeos"}),
    **dict.fromkeys(_BY_LANGUAGE, frozenset(_LANGUAGES.split())),
}

_DAYPARTS = ((5, "night"), (11, "morning"), (17, "afternoon"), (22, "evening"), (24, "night"))
_MINUTE_MS = 60_000
_DAY_MIN = 24 * 60


def daypart(ts_ms: int, utc_offset_min: int = 0) -> str:
    """The part of the day at `ts_ms`: night (22-5), morning (5-11), afternoon (11-17) or evening (17-22).

    `utc_offset_min` is what local clocks are ahead of UTC, in minutes: 330 in India, -210 in Newfoundland.
    """
    minute = (ts_ms // _MINUTE_MS + utc_offset_min) % _DAY_MIN
    return next(name for until, name in _DAYPARTS if minute < 60 * until)


def vocabulary(names: Iterable[str], more: Mapping[str, Sequence[str]]) -> dict[str, Set[str]]:
    """The values to know of each name in `context`: those of `KNOWN` and `more`.

    Raises ConfigurationError for a name of which no value is known: all that is sent would be `other`.
    """
    known = {
        name: KNOWN.get(name, frozenset()) | {_plain(name, value) for value in more.get(name, ())} for name in names
    }
    for name, values in known.items():
        if not values:
            raise ConfigurationError(f"contexts name {name!r}, of which no value is known: list them in context_values")
    return known


def situations(ts_ms: int, context: Mapping[str, str | float | bool], wanted: Mapping[str, Set[str]]) -> list[str]:
    """The `context` paths of one event, such as `/daypart/evening` and `/device/mobile`.

    `daypart` is worked out from the time (and `utc_offset_min` in the context); any other name in `wanted` is
    looked up in the event's context. `wanted` has the known values of each name.
    """
    paths = []
    for name in sorted(wanted):
        if name == "daypart":
            offset = context.get("utc_offset_min", 0)
            paths.append(f"/daypart/{daypart(ts_ms, int(offset) if isinstance(offset, (int, float)) else 0)}")
        elif (value := context.get(name)) is not None:
            paths.append(situation(name, value, wanted[name]))
    return paths


def situation(name: str, value: str | float | bool, known: Set[str]) -> str:
    """The `context` path of one situation: `/device/mobile`, or `/device/other` where the value is none of `known`."""
    plain = _plain(name, value)
    return f"/{name}/{plain if plain in known else OTHER}"


def _plain(name: str, value: str | float | bool) -> str:
    plain = str(value).strip().lower().replace("/", "-")[:64]
    return plain.replace("_", "-").partition("-")[0] if name in _BY_LANGUAGE else plain
