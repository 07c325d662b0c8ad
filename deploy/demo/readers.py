"""Six invented readers: who they are, how their day goes, and what their tree should look like at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Some hours of a day, from and to in hours since midnight: how many visits, to which topics, in what mood.

    `topics` weighs the topics visited; `against` are those visited to complain about. `keen` is the chance that a
    visit ends with a like, a bookmark, a comment and so on.
    """

    start_h: float
    end_h: float
    visits: int
    topics: Mapping[str, float]
    against: frozenset[str] = frozenset()
    keen: float = 0.35
    device: str = "mobile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """An invented person. `languages` are those they read and write, the preferred first.

    What to expect of the tree at the day's end: `top` the heaviest topics in any order, `last` the topic of the
    last session, `averse` the topics pushed away.
    """

    id: str
    portrait: str
    languages: tuple[str, ...]
    phases: tuple[Phase, ...]
    top: frozenset[str]
    last: str
    averse: frozenset[str] = frozenset()
    traits: frozenset[str] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        """The short name inside the id: `ana` of `reader-ana-invented`."""
        return self.id.split("-")[1]


READERS: tuple[Reader, ...] = (
    Reader(
        id="reader-ana-invented",
        portrait="Reads the markets over breakfast, cooks at night; by evening the shares are forgotten.",
        languages=("en",),
        phases=(
            Phase(start_h=6.5, end_h=9, visits=34, topics={"finance": 8, "politics": 1, "technology": 1}, keen=0.25),
            Phase(start_h=12, end_h=13, visits=12, topics={"technology": 3, "finance": 2}, device="desktop"),
            Phase(start_h=18, end_h=22.5, visits=52, topics={"food": 8, "home-garden": 1}, keen=0.5, device="tablet"),
        ),
        top=frozenset({"food", "finance"}),
        last="food",
    ),
    Reader(
        id="reader-bo-invented",
        portrait="Plays until noon, loses patience with it, and takes the tent outside instead.",
        languages=("en",),
        phases=(
            Phase(start_h=8, end_h=11.5, visits=30, topics={"games": 8, "film-tv": 1}, keen=0.35),
            Phase(
                start_h=13,
                end_h=15.5,
                visits=26,
                topics={"games": 1},
                against=frozenset({"games"}),
                keen=0.8,
                device="desktop",
            ),
            Phase(start_h=17, end_h=22, visits=48, topics={"outdoors": 9, "travel": 1}, keen=0.5),
        ),
        top=frozenset({"outdoors"}),
        last="outdoors",
        averse=frozenset({"games"}),
    ),
    Reader(
        id="reader-chen-invented",
        portrait="Reads in Chinese and English, sport by day and series by night, and comments in both languages.",
        languages=("zh", "en"),
        phases=(
            Phase(start_h=7, end_h=9, visits=26, topics={"sports": 8, "society": 1}),
            Phase(start_h=12, end_h=14, visits=24, topics={"sports": 3, "film-tv": 3}, device="desktop"),
            Phase(start_h=19.5, end_h=23.5, visits=48, topics={"film-tv": 8, "music": 1}, keen=0.5, device="tablet"),
        ),
        top=frozenset({"film-tv", "sports"}),
        last="film-tv",
    ),
    Reader(
        id="reader-dora-invented",
        portrait="Looks in twice a day, mostly for pets; likes a pair of boots and takes it back.",
        languages=("en", "zh"),
        phases=(
            Phase(start_h=9, end_h=9.5, visits=4, topics={"pets": 1}, keen=0.4),
            Phase(start_h=20, end_h=20.5, visits=6, topics={"pets": 1}, keen=0.5),
        ),
        top=frozenset({"pets"}),
        last="pets",
        traits=frozenset({"takes-back"}),
    ),
    Reader(
        id="reader-emil-invented",
        portrait="Clicks on everything, all day, every few seconds: more like a machine than a reader.",
        languages=("en", "zh"),
        phases=(Phase(start_h=0.5, end_h=23.5, visits=620, topics={}, keen=0.0, device="desktop"),),
        top=frozenset(),
        last="",
        traits=frozenset({"bot-like"}),
    ),
    Reader(
        id="reader-fay-invented",
        portrait="Buys for her new flat and says what it was worth; one gadget comes back with a single star.",
        languages=("zh",),
        phases=(
            Phase(
                start_h=10,
                end_h=12.5,
                visits=34,
                topics={"home-garden": 8, "technology": 1},
                keen=0.4,
                device="desktop",
            ),
            Phase(start_h=15, end_h=17, visits=20, topics={"home-garden": 4, "food": 2}, keen=0.4),
            Phase(
                start_h=20, end_h=22, visits=30, topics={"home-garden": 7, "parenting": 2}, keen=0.45, device="tablet"
            ),
        ),
        top=frozenset({"home-garden"}),
        last="home-garden",
        averse=frozenset({"technology"}),
        traits=frozenset({"buys"}),
    ),
)
