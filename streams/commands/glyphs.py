"""What all drawings in the terminal share: their characters, cutting to a width, numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console

WIDEST: Final = 132
"""No line is drawn wider than this, however wide the terminal is."""
_ONE_LINE: Final = dict.fromkeys(map(ord, "\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"), " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters of the drawing."""

    liked: str = "█"
    trace: str = "▏"
    disliked: str = "▒"
    child: str = "├─ "
    last: str = "└─ "
    beside: str = "│  "
    cut: str = "…"
    into: str = " › "
    quotes: str = "“”"
    minus: str = "−"
    dot: str = "·"
    fresh: str = "▓"
    popular: str = "░"
    recent: str = "▚"

    def fit(self, text: str, cells: int) -> str:
        """Text in exactly so many cells; what does not fit is cut."""
        if cells <= 0:
            return ""
        text = text.translate(_ONE_LINE)
        if cell_len(text) <= cells:
            return set_cell_size(text, cells)
        return set_cell_size(set_cell_size(text, cells - 1).rstrip() + self.cut, cells)

    def cut_to(self, text: str, cells: int) -> str:
        """Text in so many cells at most."""
        text = text.translate(_ONE_LINE)
        return text if cell_len(text) <= cells else self.fit(text, cells).rstrip()

    def quoted(self, text: str) -> str:
        """Text as what was said."""
        return f"{self.quotes[0]}{text}{self.quotes[1]}"

    def signed(self, number: float, digits: int = 2) -> str:
        """A number with its sign."""
        return f"{number:+.{digits}f}".replace("-", self.minus)

    def number(self, number: float, digits: int = 3) -> str:
        """A number without a plus."""
        return f"{number:.{digits}f}".replace("-", self.minus)


ASCII: Final = Glyphs(
    liked="#", trace=".", disliked="-", child="|- ", last="`- ", beside="|  ", cut=".", into=" > ", quotes='""',
    minus="-", dot="-", fresh="+", popular="=", recent="*",
)  # fmt: skip


def glyphs_of(console: Console) -> Glyphs:
    """The characters that a console's encoding has."""
    return ASCII if console.options.ascii_only else Glyphs()


def percent(share: float) -> str:
    """A share in per cent, with a digit after the point where it is small."""
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"
