"""What `interests show` makes of nodes, and how it draws it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from streams.commands.glyphs import ASCII
from streams.commands.show import ShowRequest, names, why_empty
from streams.commands.tree_drawing import draw
from streams.commands.tree_view import Branch, TreeOptions, TreeView, item_ids, view
from streams.interests.evidence import Evidence
from streams.interests.nodes import LearnedPart, Level, Node, NodeKey
from streams.interests.recents import Recent, pack_recents
from streams.settings.policies import NodeSettings
from streams.store.cards import Card

NOW = 1_780_000_000_000
MIN, H, D = 60_000, 3_600_000, 86_400_000
POLICY = NodeSettings().policy()
NAME_OF = names(None, "en")


def card(item_id: str, path: str, title: str) -> Card:
    return Card(item_id, np.zeros(0, np.float32), path, title)


CARDS = {
    "q1": card("q1", "/finance/markets", "How Cardano is different from Ethereum (2.0)?"),
    "q3": card("q3", "/technology/security", "Is my wallet's seed phrase safe when the browser that I use is not?"),
    "茶": card("茶", "/food", "如何泡一杯好的乌龙茶以及水温与时间的关系是什么呢"),
}


def node(
    level: Level, path: str, mass: float, ago_ms: int = 0, net: float = 1.0, evidence: Sequence[Evidence] = ()
) -> Node:
    return Node(
        key=NodeKey("u17", level, path), direction=np.zeros(1, np.float32), norm=mass, mass=mass,
        net=net * mass, t0_ms=NOW, first_ms=NOW - 200 * D, last_ms=NOW - ago_ms, count=5, evidence=tuple(evidence),
    )  # fmt: skip


TREE = [
    node("profile", "/", 20, 3 * H),
    node("topic", "/technology", 12, 3 * H, 0.8),
    node("interest", "/technology/programming", 8, 3 * H, 1, [Evidence("e-1", "q1", NOW - 3 * H, 3.0)]),
    node("interest", "/technology/security", 3, 2 * D, -0.2, [Evidence("e-2" * 30, "q3", NOW - 2 * D, -1.4)]),
    node("topic", "/food", 4, 5 * D),
    node("interest", "/food/tea", 4, 5 * D, 1, [Evidence("e-3", "茶", NOW - 5 * D, 2.0)]),
    node("interest", "/sports/football", 2, 5 * D, 1),
    node("session", "/", 2, 12 * MIN, 1, [Evidence("e-1", "q3", NOW - 12 * MIN, 2.0)]),
    node("context", "/daypart/evening", 3, 5 * H),
    node("context", "/daypart/night", 1, 6 * H),
    node("context", "/device/mobile", 2, 6 * H, 0.5),
    node("aversion", "/", 2.2, 5 * D, -1, [Evidence("e-5", "", NOW - 5 * D, -0.8)]),
    node("aversion", "/sports", 0.8, 5 * D, -1, [Evidence("e-5", "", NOW - 5 * D, -0.8)]),
    node("interest", "/music/jazz", 0.005, 90 * D),
]


def see(nodes: Sequence[Node] = TREE, at_ms: int = NOW, **wanted: object) -> TreeView:
    return view("u17", nodes, at_ms, POLICY, NAME_OF, CARDS, TreeOptions(**wanted))  # type: ignore[arg-type]


def branch(tree: TreeView, *path: str) -> Branch:
    (found,) = [one for top in tree.topics for one in (top, *top.children) if one.path in path]
    return found


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_topics_share_the_whole_and_their_interests_lie_below() -> None:
    tree = see()
    assert [(top.path, round(top.share, 3)) for top in tree.topics] == [
        ("/technology", 0.75), ("/food", 0.25), ("/sports/football", 0.125),
    ]  # fmt: skip
    assert [child.path for child in tree.topics[0].children] == ["/technology/programming", "/technology/security"]
    assert branch(tree, "/technology/programming").share == 0.5
    assert branch(tree, "/technology/security").net == pytest.approx(-0.2)
    assert branch(tree, "/technology").name == "Technology"
    assert (tree.count, tree.last_ms, tree.expired) == (5, NOW - 3 * H, 1)


def test_masses_fade_with_each_level_s_half_life() -> None:
    later = see(at_ms=NOW + 7 * D)
    assert branch(later, "/technology/programming").mass == pytest.approx(4)
    assert branch(later, "/technology").mass == pytest.approx(12 * 2 ** (-7 / 21))
    assert later.session is None
    assert later.expired == 2


def test_a_reason_s_share_is_its_weight_faded_to_the_node_s_time_and_stays_the_same() -> None:
    reason = branch(see(), "/food/tea").reasons[0]
    assert (reason.title, reason.path) == (CARDS["茶"].title, "/food")
    assert reason.share == pytest.approx(2.0 * 2 ** (-5 / 7) / 4)
    assert branch(see(at_ms=NOW + 3 * D), "/food/tea").reasons[0].share == reason.share


def test_only_as_much_evidence_as_is_wanted_and_its_items() -> None:
    many = replace(TREE[2], evidence=tuple(Evidence(f"e{n}", f"i{n}", NOW, 1.0) for n in range(5)))
    assert item_ids([many], 2) == {"i0", "i1"}
    assert len(branch(see([many], evidence=3), many.key.path).reasons) == 3
    assert branch(see([many], evidence=0), many.key.path).reasons == ()


LATEST = (
    Recent("q1", NOW - 3 * H, 3.0),
    Recent("lost", NOW - D, 0.0),
    *(Recent(f"i{n}", 9 - n, -2.0) for n in range(4)),
)
DEALT_WITH = [replace(TREE[0], recents=pack_recents(LATEST)), *TREE[1:]]


def test_recent_items_have_their_titles_and_those_of_an_erased_person_are_not_shown() -> None:
    recents = see(DEALT_WITH).recents
    assert [(one.item_id, one.title, one.ts_ms, one.weight) for one in recents[:2]] == [
        ("q1", CARDS["q1"].title, NOW - 3 * H, 3.0), ("lost", "", NOW - D, 0.0)
    ]  # fmt: skip
    assert len(recents) == len(LATEST)
    assert item_ids(DEALT_WITH[:1], 0) == {one.item_id for one in LATEST}
    assert see(DEALT_WITH, levels=frozenset({"topic"})).recents == ()
    assert see([replace(DEALT_WITH[0], count=0, erased_at_ms=NOW)]).recents == ()


def test_the_last_items_are_drawn_below_the_tree_and_the_rest_is_counted() -> None:
    lines = drawn(80, see(DEALT_WITH)).splitlines()
    first = lines.index("Last items") + 1
    assert CARDS["q1"].title[:20] in lines[first]
    assert lines[first].endswith("+3.00, 3 h ago")
    assert lines[first + 1].endswith("taken back, 1 d ago")
    assert lines[first + 5] == "and 1 more (--all shows them)"
    assert "more (--all" not in drawn(80, see(DEALT_WITH), fold=False)
    assert "Last items" not in drawn(80, see(DEALT_WITH[:1]))


def test_situations_are_shares_of_their_own_kind() -> None:
    assert [(one.path, one.share) for one in see().contexts] == [
        ("/daypart/evening", 0.75), ("/daypart/night", 0.25), ("/device/mobile", 1.0),
    ]  # fmt: skip


def test_what_is_pushed_away_lies_below_all_of_it() -> None:
    (everything,) = see().aversions
    assert (everything.path, everything.share) == ("/", 1.0)
    assert [(one.path, round(one.share, 3)) for one in everything.children] == [("/sports", 0.364)]


def test_levels_and_expired_nodes_are_shown_on_demand() -> None:
    interests = see(levels=frozenset({"interest"}))
    assert {one.path for one in interests.topics} == {n.key.path for n in TREE if n.key.level == "interest"} - {
        "/music/jazz"
    }
    assert sum(one.share for one in interests.topics) == pytest.approx(1)
    assert (interests.session, interests.contexts, interests.aversions) == (None, (), ())
    assert branch(see(expired=True), "/music/jazz").expired


def test_nothing_but_a_profile_is_empty() -> None:
    assert see(TREE[:1]).is_empty
    assert see(at_ms=NOW + 3_000 * D).is_empty
    assert not see().is_empty


def test_names_follow_the_language() -> None:
    assert names(None, "zh")("/technology") == "科技数码"
    assert names(None, "zh-TW")("/technology") == "科技數碼"
    assert names(None, "xx")("/technology") == "Technology"
    assert names(None, "en")("/not/a-concept") == "a concept"


@pytest.mark.parametrize(
    ("tree", "levels", "told"),
    [
        (see(at_ms=NOW + 3_000 * D), (), "the last event was 8 y ago. --at 2026-05-28T17:26:40.000Z shows the tree"),
        (see(TREE[:1]), ("session",), "there is nothing on level session"),
        (see([replace(TREE[0], count=0, last_ms=NOW, erased_at_ms=NOW)]), (), "erased on 2026-05-28"),
        (see([replace(TREE[0], count=0, last_ms=NOW, erased_at_ms=NOW)]), ("topic",), "erased on 2026-05-28"),
        (see([node("topic", "/a", 0.001)]), (), "--all shows what is stored"),
    ],
)
def test_an_empty_tree_says_why_and_what_to_do(tree: TreeView, levels: Sequence[Level], told: str) -> None:
    request = ShowRequest(
        user_id="u17",
        at_ms=tree.at_ms,
        levels=frozenset(levels),
        lang="en",
        evidence=1,
        everything=False,
        as_json=False,
    )
    assert told in why_empty(tree, request)


# -- how it is drawn ---------------------------------------------------------------------------------------------------


def drawn(
    width: int, tree: TreeView | None = None, *, encoding: str = "utf-8", fold: bool = True, **options: object
) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding, errors="replace")
    console = Console(file=file, width=width, highlight=False, emoji=False, **options)  # type: ignore[arg-type]
    console.print(draw(tree or see(evidence=2), console, NAME_OF, fold=fold))
    file.flush()
    return raw.getvalue().decode(encoding)


def learned(path: str, model: str = "interest-hierarchy-5f1c09ab", at_ms: int = NOW - H) -> Node:
    evidence = [Evidence("", "q1", NOW - 3 * H, 0.62, "like"), Evidence("", "q3", NOW - 2 * D, 0.2, "click")]
    made = node("learned", path, 20, 5 * H, evidence=evidence)
    return replace(made, t0_ms=at_ms, learned=LearnedPart(model, made_ms=NOW - H))


def test_what_a_model_says_is_told_with_its_name_its_age_and_its_attention() -> None:
    old = learned("/exposure", "interest-mean-00000000", NOW - D)
    nodes = [*TREE, learned("/purchase"), learned("/"), learned("/click"), old]
    tree = see(nodes, evidence=2)
    assert tree.learned is not None
    assert (tree.learned.model, tree.learned.paths) == ("interest-hierarchy-5f1c09ab", ("/", "/click", "/purchase"))
    text = drawn(80, tree)
    assert "Learned  by interest-hierarchy-5f1c09ab, made 1 h ago" in text
    assert re.search(r"interest, click, purchase · it has not seen the last 2 h", text)
    assert re.search(r"· like “How Cardano .*62% of its attention, 3 h ago", text)
    assert [one.path for one in tree.topics] == [one.path for one in see(evidence=2).topics]
    assert "Learned" not in drawn(80, see(evidence=2))
    assert "Learned" not in drawn(80, see(nodes, levels=frozenset({"topic"})))
    alone = see(nodes, levels=frozenset({"learned"}))
    assert not alone.is_empty
    assert all(cell_len(line) <= 40 for line in drawn(40, alone).splitlines())


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_columns_stand_under_each_other(width: int) -> None:
    lines = drawn(width).splitlines()
    assert max(map(cell_len, lines)) <= width
    ends = {
        cell_len(line[: match.end()]) for line in lines if (match := re.search(r" \d+(\.\d)?% +[+−]\d\.\d\d", line))
    }
    heads = {cell_len(line[: line.index("net") + 3]) for line in lines if "share" in line}
    assert ends == heads
    assert len(ends) == 1


@pytest.mark.parametrize("width", [80, 120])
def test_names_bars_shares_when_and_why_are_there(width: int) -> None:
    text = drawn(width)
    row = next(line for line in text.splitlines() if "Programming" in line)
    assert re.search(r"├─ Programming +█+ +50% +\+1\.00  3 h ago", row)
    assert re.search(r"└─ Security +█+▒+ +19% +−0\.20  2 d ago", text)
    assert "How Cardano" in text
    assert "+3.00 = 37% of it, 3 h ago" in text
    assert "Right now  12 min ago  mostly Technology › Security" in text
    assert "daypart: evening" in text
    assert re.search(r"Everything +▒+ +100%", text)
    assert "1 node has faded" in text


def test_bars_are_proportional() -> None:
    def cells(name: str) -> int:
        (line,) = [line for line in drawn(120).splitlines() if re.search(rf"(^|─ ){name} +[█▒]", line)]
        return line.count("█") + line.count("▒")

    assert cells("Programming") / cells("Technology") == pytest.approx(8 / 12, rel=0.06)
    assert cells("Food.*") / cells("Technology") == pytest.approx(4 / 12, rel=0.06)


def test_without_a_terminal_there_is_no_colour_and_with_one_there_is() -> None:
    assert "\x1b" not in drawn(80)
    assert "\x1b[" in drawn(80, force_terminal=True, color_system="standard")
    assert "\x1b[3" not in drawn(80, force_terminal=True, no_color=True, color_system="standard")


def test_a_terminal_without_unicode_gets_plain_characters() -> None:
    text = drawn(80, encoding="ascii")
    assert text.isascii()
    assert f"{ASCII.child}Programming" in text
    assert "##" in text


def test_markup_in_an_id_is_text() -> None:
    evil = [node("interest", "/x/y", 1, 0, 1, [Evidence("[red]e[/red]", "", NOW, 1.0)])]
    assert "[red]e[/red]" in drawn(80, see(evil), force_terminal=True)


def test_many_small_interests_are_summed_up_unless_all_are_asked_for() -> None:
    crowd = [node("topic", f"/t{n:02}", 100 - n) for n in range(20)]
    crowd += [node("interest", f"/t00/i{n}", 9 - n) for n in range(9)]
    text = drawn(80, see(crowd))
    assert "and 12 more with" in text
    assert "└─ and 3 more with" in text
    whole = drawn(80, see(crowd), fold=False)
    assert "more with" not in whole
    assert whole.count("T1") == 10
