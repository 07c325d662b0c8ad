"""How answers of the API are drawn: widths, parts of bars, folding, and a watched tree as updates arrive."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console, Group

from streams.api.models import (
    Audience,
    AudienceMember,
    AudienceNode,
    EvidenceEntry,
    InterestNode,
    LiveEvent,
    LiveUpdate,
    SimilarItem,
    SimilarItems,
)
from streams.api.prediction_models import ClickThrough, Prediction, Predictions
from streams.api.score_models import (
    ExplainedPart,
    ExplainedPull,
    ExplainedRecent,
    Explanation,
    OtherPart,
    Pull,
    RankedItem,
    RecentPull,
    ScoreParts,
)
from streams.commands.audience import draw_audience
from streams.commands.predict import draw_predictions
from streams.commands.score_drawing import draw_explained, draw_ranked
from streams.commands.similar import draw_similar
from streams.commands.watch import WatchedTree, draw_live_tree

NOW = 1_790_000_000_000
TITLE = "如何泡一杯好的乌龙茶以及水温与时间的关系是什么呢 and\npour-over coffee, step by step, for people in a hurry"
WIDTHS = [20, 40, 80, 120, 300]


def drawn(make: Any, width: int = 80, height: int = 25, ascii_only: bool = False) -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ascii_only else "utf-8", errors="replace")
    console = Console(file=out, width=width, height=height, no_color=True, highlight=False, emoji=False)
    drawing = make(console)
    rows = drawing if isinstance(drawing, list) else drawing.renderables
    for row in rows:
        console.print(Group(row))
    out.flush()
    out.seek(0)
    lines = out.read().splitlines()
    assert len(lines) == len(rows) or width < 40, "a line was too wide, and was wrapped"
    return lines


def item(score: float = 0.5, aversion: float = -0.1, **more: Any) -> RankedItem:
    pull = Pull(node_id="n", level="topic", path="/food", name="food", contribution=score, attention=0.5)
    away = Pull(**{**pull.model_dump(), "level": "aversion", "contribution": aversion, "prior": True})
    parts = ScoreParts(relevance=score, aversion=aversion, freshness=0.1, popularity=0.05)
    fields = {"item_id": "i" * 200, "title": TITLE, "path": "/food/coffee-tea", "lang": "zh", "ts_ms": NOW - 1000}
    return RankedItem(score=score + aversion + 0.15, parts=parts, **{**fields, "because": [pull, away], **more})


def predicted(**more: Any) -> Predictions:
    chances = {"click": 0.341, "exposure": 0.52, "purchase": 0.0004}
    items = [
        Prediction(item_id="i2", title="A kettle", cosine=0.613, probabilities=chances),
        Prediction(text_index=0, cosine=-0.2, probabilities={"click": 0.02}),
    ]
    fields = {
        "user_id": "u" * 200, "at_ms": NOW, "model": "interest-hierarchy-5f1c09ab", "made_ms": NOW - 7_200_000,
        "behind_ms": 600_000, "click_through": ClickThrough(mean=0.11, variance=0.0004), "items": items,
    }  # fmt: skip
    return Predictions(**{**fields, **more})


def similar(**more: Any) -> SimilarItems:
    fields = {"item_id": "i2", "score": 0.03, "content": 0.912, "together": 0.14, "people": 11.6, "lang": "zh"}
    items = [SimilarItem(**{**fields, "found_by": ["together"], **more})] * 2
    return SimilarItems(item_id="i" * 200, by="both", at_ms=NOW, items=items)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, ascii_only: bool) -> None:
    member = AudienceMember(
        user_id="ünïcödé/" * 20, strength=2.0, similarity=0.5, since_ms=NOW - 10**9, last_ms=NOW,
        nodes=[AudienceNode(level="topic", path="/food", name=TITLE, similarity=0.5, mass=1, first_ms=1, last_ms=1)],
    )  # fmt: skip
    entry = EvidenceEntry(event_id="e" * 100, item_id="i", title=TITLE, ts_ms=NOW - 1000, weight=-1.0, share=0.5)
    pulls = [ExplainedPull(**item().because[1].model_dump(), share=0.9, evidence=[entry])]
    why = Explanation(
        user_id="u" * 200, item_id="i", title=TITLE, at_ms=NOW, score=0.1, parts=item().parts, pulls=pulls
    )
    tree = WatchedTree("u" * 200, 1)
    tree.apply(update(node("topic", "/food", 1.0, evidence=[entry]), events=[event("e1", title=TITLE)]))
    for make in (
        lambda console: draw_ranked("u" * 200, NOW, [item()] * 3, console, prior=True, texts=[TITLE]),
        lambda console: draw_audience(Audience(at_ms=NOW, members=[member]), console, TITLE, None),
        lambda console: draw_explained(why, console, evidence=1),
        lambda console: draw_similar(similar(item_id="i" * 200, title=TITLE, path="/food/coffee-tea"), console),
        lambda console: draw_predictions(predicted(), [TITLE], console),
        lambda console: draw_live_tree(tree, NOW, console, "live " * 50, fold=True),
    ):
        lines = drawn(make, width, ascii_only=ascii_only)
        assert max(cell_len(line) for line in lines) <= width
        assert not ascii_only or all(line.isascii() for line in lines)


def test_similar_items_have_both_figures_and_how_many_people_touched_both() -> None:
    lines = drawn(lambda console: draw_similar(similar(title=None), console), 80)
    assert lines[3].split() == ["content", "together"]
    assert lines[4].split() == ["1", "i2", "0.912", "0.140"]
    assert "11.6 people" in lines[5]
    few = drawn(lambda console: draw_similar(similar(people=0.9997), console), 80)
    assert any(line.endswith("1 person") for line in few)


def test_predictions_are_a_table_with_the_model_and_how_late_it_is() -> None:
    lines = drawn(lambda console: draw_predictions(predicted(user_id="ana"), ["A late  goal"], console), 80)
    assert lines[:2] == ["ana", "interest-hierarchy-5f1c09ab · made 2 h ago · as of 2026-09-21 14:13 UTC"]
    assert lines[2] == "the model has not seen the last 10 min of their events"
    assert lines[3] == "click-through 11%, give or take 2.0%"
    assert lines[5].split() == ["nearness", "click", "exposure", "purchase"]
    assert lines[6].split() == ["A", "kettle", "+0.61", "34%", "52%", "<0.1%"]
    assert lines[7].split() == ["“A", "late", "goal”", "−0.20", "2.0%"]
    bare = predicted(behind_ms=0, click_through=None, made_ms=None)
    assert "made" not in "".join(drawn(lambda console: draw_predictions(bare, [], console), 80))
    narrow = drawn(lambda console: draw_predictions(predicted(), [], console), 34)
    assert narrow[5].split() == ["nearness", "click"]


def test_what_a_model_adds_is_named_and_shows_its_attention() -> None:
    entry = EvidenceEntry(event_id="", type="like", item_id="i9", title="A kettle", ts_ms=NOW, weight=0.7, share=0.7)
    pull = ExplainedPull(
        node_id="n", level="learned", path="/click", name="What they click", contribution=0.4, attention=0.0, share=1.0,
        evidence=[entry],
    )  # fmt: skip
    parts = ScoreParts(relevance=0.0, aversion=0.0, freshness=0.0, popularity=0.0, learned=0.4)
    told = Explanation(user_id="u", item_id="i", at_ms=NOW, score=0.4, parts=parts, pulls=[pull])
    text = "\n".join(drawn(lambda console: draw_explained(told, console, evidence=1), 100))
    assert "What they click (learned)" in text
    assert "70% of the model's attention" in text
    one = item(0.0, 0.0).model_copy(update={"parts": parts, "because": [pull]})
    text = "\n".join(drawn(lambda console: draw_ranked("u", NOW, [one], console, prior=False), 100))
    assert "What they click (learned) +0.40" in text
    assert "nothing is known of them" not in text


def test_a_bar_is_the_parts_of_the_score_and_ends_with_what_was_taken_off() -> None:
    lines = drawn(lambda console: draw_ranked("u", NOW, [item(0.7, -0.2)], console, prior=False), 121)
    (bar,) = re.findall(r"[█▓░▒]{4,}", lines[3])
    assert len(bar) == 30
    assert bar == "".join(sorted(bar, key="█▓░▒".index))
    assert bar.count("▒") == round(30 * 0.2 / 0.85)
    assert lines[3].endswith("0.650")


def test_with_learned_weights_a_bar_has_recent_items_too_and_says_which_weights() -> None:
    parts = ScoreParts(
        relevance=0.4, aversion=-0.1, recent=0.2, together=0.1, attributes=-0.1, freshness=0.1, popularity=0.05,
        touched=0.05,
    )  # fmt: skip
    near = RecentPull(item_id="i2", title="A  kettle", ts_ms=NOW, weight=1.0, contribution=0.6)
    one = item().model_copy(update={"parts": parts, "recents": [near]})
    lines = drawn(
        lambda console: draw_ranked("u", NOW, [one], console, prior=False, weights=12, kind="impression"), 121
    )
    assert lines[1].endswith("weights 12 of impression")
    (bar,) = re.findall(r"[█▚▓░▒]{4,}", lines[3])
    assert len(bar) == 30
    assert (bar.count("▚"), bar.count("▒")) == (10, round(30 * 0.2 / 0.9))
    assert "▚ recent items" in lines[-1]
    assert any("“A kettle” +0.60" in line for line in lines)
    more = {"shares": 0.9, "touched": -0.7}  # of the share, 0.6 is that of its language, which the recent items have
    others = [OtherPart(part="shares", contribution=0.3), OtherPart(part="touched", contribution=-0.7)]
    topic = one.model_copy(update={"parts": parts.model_copy(update=more), "others": others})
    lines = drawn(
        lambda console: draw_ranked("u", NOW, [topic], console, prior=False, weights=12, kind="impression"), 121
    )
    assert any("taken up lately −0.70   “A kettle” +0.60   Food +0.50" in line for line in lines)


def test_an_explanation_has_recent_items_and_the_item_s_own_parts() -> None:
    recents = [ExplainedRecent(item_id="i2", title="A kettle", ts_ms=NOW, weight=1.0, contribution=0.2, share=0.2)]
    one = explanation().model_copy(update={"recents": recents, "weights_version": 7, "weights_kind": "next"})
    lines = drawn(lambda console: draw_explained(one, console, evidence=0))
    assert any(line.startswith("“A kettle”, ") and "+0.200" in line for line in lines)
    assert "weights 7 of next · for u" in lines[1]


def test_pushes_and_interests_of_the_cohort_are_named() -> None:
    text = "\n".join(drawn(lambda console: draw_ranked("u", NOW, [item()], console, prior=True), 120))
    assert "Food +0.50   Turned away from Food (prior) −0.10" in text
    assert "people who began alike" in text


def test_nothing_known_is_said() -> None:
    flat = item(0.0, 0.0, because=[])
    assert "nothing is known of them" in "\n".join(
        drawn(lambda console: draw_ranked("u", NOW, [flat], console, prior=False))
    )


def explanation() -> Explanation:
    pulls = [
        ExplainedPull(
            node_id=str(n), level="interest", path=f"/food/{n}", name=f"food {n}", contribution=value, attention=0.1,
            share=abs(value) / 1.004,
        )
        for n, value in enumerate([0.6, -0.3, 0.002, 0.002])
    ]  # fmt: skip
    parts = ScoreParts(relevance=0.604, aversion=-0.3, freshness=0.1, popularity=0.0)
    others = [ExplainedPart(part="freshness", contribution=0.1, share=0.1 / 1.004)]
    return Explanation(user_id="u", item_id="i", at_ms=NOW, score=0.404, parts=parts, pulls=pulls, others=others)


def test_what_hardly_moved_a_score_is_summed_up_and_all_shows_it() -> None:
    folded = drawn(lambda console: draw_explained(explanation(), console, evidence=0))
    assert [re.split(r"  +", line)[0] for line in folded[4:8]] == [
        "Food 0",
        "Food 1",
        "How new it is",
        "and 2 more (--all shows them)",
    ]
    assert "+0.004" in folded[7]
    assert folded[-1].split() == ["score", "+0.404"]
    whole = drawn(lambda console: draw_explained(explanation(), console, evidence=0, fold=False))
    assert len(whole) == len(folded) + 1


# -- a watched tree ----------------------------------------------------------------------------------------------------


def node(level: Any, path: str, mass: float, **more: Any) -> InterestNode:
    fields: dict[str, Any] = {"count": 3, "first_ms": NOW - 10**7, "last_ms": NOW, "expires_at_ms": NOW + 10**9}
    return InterestNode(
        id=f"{level}{path}", level=level, path=path, name=path.rpartition("/")[2] or "all", mass=mass, share=1.0,
        net=1.0, **{"half_life_s": 100.0, **fields, **more},
    )  # fmt: skip


def event(event_id: str, ts_ms: int = NOW, title: str | None = "A kettle") -> LiveEvent:
    return LiveEvent(event_id=event_id, type="like", item_id="i", title=title, ts_ms=ts_ms, weight=2.0)


def update(*nodes: InterestNode, **more: Any) -> LiveUpdate:
    return LiveUpdate(user_id="u", at_ms=NOW, nodes=list(nodes), **more)


def test_updates_change_the_nodes_they_name_and_masses_age_between_them() -> None:
    tree = WatchedTree("u")
    tree.apply(update(node("profile", "/", 9), node("topic", "/food", 3), node("topic", "/sports", 1), whole=True))
    tree.apply(update(node("topic", "/sports", 3), node("interest", "/sports/football", 2)))
    seen = tree.view(NOW + 100_000)
    assert [(top.path, top.mass, top.share) for top in seen.topics] == [("/food", 1.5, 0.5), ("/sports", 1.5, 0.5)]
    assert [child.path for child in seen.topics[1].children] == ["/sports/football"]
    assert seen.count == 3
    assert tree.view(NOW - 5_000).topics[0].mass == 3.0  # a clock behind the server's makes nothing grow


def test_a_node_without_a_half_life_stays_and_an_expired_one_goes() -> None:
    tree = WatchedTree("u")
    tree.apply(update(node("topic", "/food", 3, half_life_s=None), node("topic", "/tea", 3, expires_at_ms=NOW + 5)))
    assert [(top.path, top.mass) for top in tree.view(NOW + 1000).topics] == [("/food", 3.0)]


@pytest.mark.parametrize("how", ["whole", "erased"])
def test_a_whole_tree_or_an_erasure_takes_the_place_of_all(how: str) -> None:
    tree = WatchedTree("u")
    tree.apply(update(node("topic", "/food", 3), whole=True))
    tree.apply(update(node("profile", "/", 0), erased_at_ms=NOW if how == "erased" else None, **{how: True}))
    assert tree.view(NOW).is_empty
    lines = "\n".join(drawn(lambda console: draw_live_tree(tree, NOW, console, "live", fold=True)))
    assert ("nothing came since" in lines) is (how == "erased")
    assert "nothing yet" in "\n".join(drawn(lambda console: draw_live_tree(tree, NOW, console, "live", fold=True)))


def test_the_last_events_are_newest_first_and_the_picture_fits_the_screen() -> None:
    tree = WatchedTree("u")
    tree.apply(update(*(node("topic", f"/t{n}", n + 1) for n in range(40)), whole=True))
    tree.apply(update(events=[event("e2", NOW - 1000, "later"), event("e1", NOW - 9000, "earlier")]))
    lines = drawn(lambda console: draw_live_tree(tree, NOW, console, "live", fold=False), height=24)
    assert len(lines) < 24
    assert lines[-1] == "live"
    assert ["later" in lines[-4], "earlier" in lines[-3]] == [True, True]
    assert any(re.fullmatch(r"… \d+ more lines", line) for line in lines)
    for _ in range(300):
        tree.apply(update(events=[event("e")]))
    assert len(tree.events) == 200


def test_a_search_is_called_one_in_an_explanation() -> None:
    fields = {"event_id": "e-77", "ts_ms": NOW - 1000, "weight": 1.0, "share": 0.5}
    entries = [EvidenceEntry(**fields, type="search"), EvidenceEntry(**fields, type="like", item_id="i", title="Tea")]
    pulls = [ExplainedPull(**item().because[0].model_dump(), share=0.9, evidence=entries)]
    why = Explanation(user_id="u", item_id="i", at_ms=NOW, score=0.1, parts=item().parts, pulls=pulls)
    lines = drawn(lambda console: draw_explained(why, console, evidence=2))
    assert any("search  " in line and "e-77" not in line for line in lines)
    assert any("like “Tea”" in line for line in lines)
