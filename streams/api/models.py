"""What the API takes and returns, as types: the server answers with them and the client returns them.

Times are milliseconds since 1970, UTC. Masses and weights are decayed to `at_ms`. Scores are sums of their parts. What
became of events and erasures, and what went wrong, is in `receipts.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streams.events.text import to_be_read
from streams.interests.levels import LEVELS, Level

MAX_ID = 256
MAX_K = 200
MAX_TARGETS = 500
MAX_BATCH = 500

ItemId = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Word = Annotated[str, Field(max_length=256)]
ReadText = Annotated[str, Field(min_length=1, max_length=8000), AfterValidator(to_be_read)]
Context = dict[Word, Word | float | bool]
Order = Literal["strongest", "latest"]
SimilarBy = Literal["both", "content", "together"]
ErasedAtMs = Annotated[
    int | None,
    Field(description="When the person was erased last; nothing older is known of them, and nothing is guessed until "
                      "there is new evidence. Null: they never were, or it is long ago."),
]  # fmt: skip


class ResponseModel(BaseModel):
    """A body that the server sends."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer server may send more


class RequestModel(BaseModel):
    """A body that the server is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")  # a misspelt option must not pass unnoticed


# -- trees -------------------------------------------------------------------------------------------------------


class EvidenceEntry(ResponseModel):
    """One event behind an interest: its signed weight when it happened and its share of the node's mass now.

    `type` is null for what was folded before evidence kept it.
    """

    event_id: str
    type: str | None = None
    item_id: str | None = None
    title: str | None = None
    ts_ms: int
    weight: float
    share: float


class InterestNode(ResponseModel):
    """One interest at a moment. `share` is its mass over its level's; `net` is P/W, from -1 to 1.

    `prior` marks a node of the prior: not the person's own. The mass halves in `half_life_s` where nothing new comes;
    None: not known. A node of the level `learned` is no sum of events: `model` made it at `made_ms` of what it knew of
    the person, its mass is the whole person's, and the share of an evidence entry is that of the model's attention.
    """

    id: str
    level: Level
    path: str
    name: str
    mass: float
    share: float
    net: float
    count: int
    first_ms: int
    last_ms: int
    expires_at_ms: int
    half_life_s: float | None = None
    prior: bool = False
    model: str | None = None
    made_ms: int | None = None
    evidence: list[EvidenceEntry] = []
    vector: list[float] | None = None


class Tree(ResponseModel):
    """A user's interests at `at_ms`, heaviest first within a level. `prior`: some nodes are a prior's."""

    user_id: str
    at_ms: int
    prior: bool = False
    events: int = 0
    first_ms: int = 0
    last_ms: int = 0
    erased_at_ms: ErasedAtMs = None
    nodes: list[InterestNode] = []
    next_cursor: str | None = None


# -- items ------------------------------------------------------------------------------------------------------


class ItemCard(ResponseModel):
    """An item as the catalogue describes it, its path on the concept tree, and its popularity now.

    `path` is empty where nothing was clear enough. `confidence` is the probability that its topic is right: 1 where a
    category names it, null where it is not known.
    """

    item_id: str
    title: str | None = None
    description: str | None = None
    path: str = ""
    confidence: float | None = None
    name: str = ""
    categories: list[str] = []
    tags: list[str] = []
    brand: str | None = None
    lang: str | None = None
    ts_ms: int | None = None
    popularity: float = 0.0


# -- people ------------------------------------------------------------------------------------------------------


class RecentEntry(ResponseModel):
    """An item and a person's latest event with it: its time and its signed weight then, 0 where it was taken back."""

    item_id: str
    title: str | None = None
    ts_ms: int
    weight: float


class Recents(ResponseModel):
    """The last items that a person has given evidence of, for or against, latest first."""

    user_id: str
    erased_at_ms: ErasedAtMs = None
    items: list[RecentEntry] = []


class SimilarUser(ResponseModel):
    """A person with alike interests; `similarity` is the cosine of the two whole persons."""

    user_id: str
    similarity: float
    shared_paths: list[str] = []


class SimilarUsers(ResponseModel):
    """The nearest people, nearest first."""

    user_id: str
    erased_at_ms: ErasedAtMs = None
    users: list[SimilarUser] = []


class SimilarItem(ResponseModel):
    """An item like another. `found_by` says which way; both figures are given either way.

    `content` is the cosine of their vectors. `together` says how much the same people touch both:
    n / √((a + 3)(b + 3)), where n is `people`, who touched both, and a and b are the totals of such numbers that either
    item has with all others. `score` is the figure of the way that was asked for; for both it is the sum of
    1 / (60 + rank) over the ways that found it.
    """

    item_id: str
    title: str | None = None
    path: str = ""
    lang: str | None = None
    ts_ms: int | None = None
    score: float
    content: float
    together: float = 0.0
    people: float = 0.0
    found_by: list[Literal["content", "together"]] = []


class SimilarItems(ResponseModel):
    """The items most like one, best first."""

    item_id: str
    by: SimilarBy
    at_ms: int
    items: list[SimilarItem] = []


class AudienceRequest(RequestModel):
    """Who is interested in a text or an item: exactly one of the two."""

    text: ReadText | None = None
    item_id: ItemId | None = None
    levels: list[Level] = Field(default=["topic", "interest"], min_length=1, max_length=len(LEVELS))
    path: str | None = Field(default=None, max_length=200, description="Only nodes at or below this path.")
    min_similarity: float = Field(default=0.0, ge=-1, le=1)
    min_mass: float = Field(default=0.0, ge=0)
    limit: int = Field(default=50, ge=1, le=1000)


class AudienceNode(ResponseModel):
    """A node of a member that met the question."""

    level: Level
    path: str
    name: str
    similarity: float
    mass: float
    first_ms: int
    last_ms: int


class AudienceMember(ResponseModel):
    """A person and how they are interested: `strength` is similarity times mass of the best node; since `first_ms`."""

    user_id: str
    strength: float
    similarity: float
    since_ms: int
    last_ms: int
    nodes: list[AudienceNode] = []


class Audience(ResponseModel):
    """Members, strongest first."""

    at_ms: int
    members: list[AudienceMember] = []


class UserCard(ResponseModel):
    """A person as listed: events folded and the last one's time."""

    user_id: str
    events: int
    last_ms: int


class Users(ResponseModel):
    """A page of people."""

    users: list[UserCard] = []
    next_cursor: str | None = None


# -- live, health -------------------------------------------------------------------------------------------------


class LiveEvent(ResponseModel):
    """An event as the page shows it: never its text."""

    event_id: str
    type: str
    item_id: str | None = None
    title: str | None = None
    ts_ms: int
    weight: float


class LiveUpdate(ResponseModel):
    """A user's tree has changed: the nodes touched, as they are now, and the events that did it.

    `erased`: all nodes but those given are gone. `erased_at_ms`: since when, in a whole tree too. The stream begins
    with one update that holds the whole tree (`whole`). `resync`: updates were lost, or are too many for one: an update
    with the whole tree follows.
    """

    user_id: str
    at_ms: int
    whole: bool = False
    erased: bool = False
    erased_at_ms: ErasedAtMs = None
    resync: bool = False
    nodes: list[InterestNode] = []
    events: list[LiveEvent] = []


class Ready(ResponseModel):
    """What answers. Trees need Qdrant only: without Triton texts answer 503, without the broker ingest does.

    `keys`: whether the files of keys are whole; nobody is let in by one that is not.
    """

    ready: bool
    qdrant: bool
    triton: bool
    keys: bool
