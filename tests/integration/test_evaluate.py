"""A real encoder, the real fold, a slice of a real log: figures that come again, and nothing from the future."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from encoders.encoder import LoadedEncoder, load_encoder
from encoders.locate import LIGHT_MODEL, cache_dir
from streams.commands.cli import app
from streams.commands.evaluation_log import ReplayLog, read
from streams.concepts.tree import Concept, build_tree
from streams.concepts.tree_file import load_tree, save_tree
from streams.evaluation import tables
from streams.evaluation.experiment import ExperimentPlan, run
from streams.evaluation.ground import EncoderPlan, NamedEncoder, prepare
from streams.evaluation.log_study import DELAYS_S, study
from streams.evaluation.online import OnlineRanking
from streams.evaluation.prequential import Case, PrequentialProtocol, Replay
from streams.evaluation.scorers import SERVICE, TOUCHES
from streams.evaluation.texts import KeptEncoder, LocalEncoder
from streams.evaluation.world import KnownItems, WorldPolicy
from streams.events.parse import parse_items
from streams.interests.score import RankPolicy, score
from streams.pipeline.describe import describe
from streams.ranking.rows import COLUMN, NAMES, fixed_weights
from streams.settings.service import Settings
from streams.store.memory import MemoryStore
from tests.fixtures.logs import rows

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
EVENTS = 500
TEXTS = 40  # events that keep their text, and items their description: encoding long ones takes the time
TOPICS = {"staking": "stake pools, delegation and rewards", "wallets": "wallets, keys and addresses", "code": "nodes"}


@pytest.fixture(scope="module")
def model() -> LoadedEncoder:
    return load_encoder(LIGHT_MODEL, cache=cache_dir(ROOT), streams=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: LoadedEncoder) -> Path:
    """A slice of the log, a small tree and a cache that starts empty but for the models."""
    events = rows("cardano", "events", EVENTS)
    met = {event["item_id"] for event in events}
    items = [item for item in rows("cardano", "items") if item["item_id"] in met]
    for item in items[TEXTS:]:
        item.pop("description", None)
    for event in events[TEXTS:]:
        event.pop("text", None)
    root = tmp_path_factory.mktemp("evaluate")
    for name, some in (("events", events), ("items", items)):
        with gzip.open(root / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in some)
    (root / "cache").mkdir()
    (root / "cache" / "models").symlink_to(cache_dir(ROOT), target_is_directory=True)
    concepts = [Concept(name, {"en": name}, {"en": about}) for name, about in TOPICS.items()]
    vectors = model.encode([f"{name}: {about}" for name, about in TOPICS.items()])[0]
    save_tree(build_tree("small", model.encoder_id, concepts, [row[None] for row in vectors]), root / "tree.npz")
    return root


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("INTERESTS_CONCEPTS__FILE", str(folder / "tree.npz"))
    return Settings()


@pytest.fixture
def encoder(folder: Path, model: LoadedEncoder) -> Iterator[KeptEncoder]:
    file = folder / "cache" / "evaluate" / f"{model.encoder_id}-{model.sentiment_id}.sqlite"
    with KeptEncoder(LocalEncoder(model), file) as kept:
        yield kept


def log_of(folder: Path, limit: int | None = None) -> ReplayLog:
    return read([folder / "items.jsonl.gz"], [folder / "events.jsonl.gz"], None, limit, only_met=False)


async def cases_of(
    log: ReplayLog, now_ms: int, settings: Settings, encoder: KeptEncoder, folder: Path,
    protocol: PrequentialProtocol | None = None,
) -> list[Case]:  # fmt: skip
    tree = load_tree(folder / "tree.npz")
    items = [item for item, _ in parse_items(log.items, now_ms=now_ms).upserts]
    points, _ = await describe(items, encoder, tree)
    store = MemoryStore(settings.nodes.policy())
    await store.put_items(points)
    replay = Replay(
        catalogue=KnownItems(points, encoder.dim), encoder=encoder, store=store, tree=tree,
        nodes=settings.nodes.policy(), weights=settings.weights.table(), ranking=settings.ranking.policy(),
        everybody=WorldPolicy(), protocol=protocol or PrequentialProtocol(),
    )  # fmt: skip
    return [case async for case in replay.cases(log.events, now_ms=now_ms)]


def test_the_command_says_the_same_twice_and_encodes_once(folder: Path, settings: Settings) -> None:
    asked = ["eval", "--items", str(folder / "items.jsonl.gz"), "--events", str(folder / "events.jsonl.gz")]
    asked += ["--encoder", LIGHT_MODEL, "--cache", str(folder / "cache"), "--out", str(folder / "out")]
    first = CliRunner().invoke(
        app, [*asked, "--name", "first", "--without", "freshness,attention"], catch_exceptions=False
    )
    assert first.exit_code == 0, first.output
    kept = next((folder / "cache" / "evaluate").glob("*.sqlite"))
    encoded = sqlite3.connect(kept).execute("SELECT count(*) FROM texts").fetchone()[0]
    assert encoded > 50
    said = json.loads((folder / "out" / "first.json").read_text())
    figures = said["groups"]["next"]["scorers"]
    assert {SERVICE, "random", "without freshness", "30-day average + freshness + popularity"} <= set(figures)
    assert said["groups"]["next"]["cases"] > 100
    assert figures[SERVICE]["mrr"]["mean"] > 1.5 * figures["random"]["mrr"]["mean"]
    assert figures["without freshness"] != figures[SERVICE]
    page = (folder / "out" / "first.html").read_text(encoding="utf-8")
    assert SERVICE in page
    assert 'src="http' not in page

    log = log_of(folder)
    parts = tuple(name.removeprefix("without ") for name in figures if name.startswith("without"))
    plan = ExperimentPlan(name="again", without=parts, encoder=EncoderPlan(model=LIGHT_MODEL, cache=folder / "cache"))

    again = asyncio.run(run(settings, plan, log.items, log.events, now_ms=log.last_ms, meter=quiet))
    assert again.figures["groups"] == said["groups"]
    assert sqlite3.connect(kept).execute("SELECT count(*) FROM texts").fetchone()[0] == encoded


class Silent:
    """Hears no progress."""

    def add(self, count: int) -> None:
        """Say nothing."""


def quiet(_: str, __: int) -> AbstractContextManager[Silent]:
    return nullcontext(Silent())


async def test_what_comes_later_changes_no_ranking(folder: Path, settings: Settings, encoder: KeptEncoder) -> None:
    whole = log_of(folder)
    cut = log_of(folder, EVENTS * 2 // 3)
    before = await cases_of(cut, whole.last_ms, settings, encoder, folder)
    after = await cases_of(whole, whole.last_ms, settings, encoder, folder)
    assert 5 < len(before) < len(after)
    for one, other in zip(before, after, strict=False):
        assert one.rows.targets.ids == other.rows.targets.ids
        assert np.allclose(one.values, other.values, atol=1e-6)
    ours, again = (OnlineRanking(fixed=fixed_weights(RankPolicy())) for _ in range(2))
    for one, other in zip(before, after, strict=False):
        assert np.allclose(ours(one), again(other), atol=1e-5)


async def test_a_row_with_the_fixed_weights_is_the_score(
    folder: Path, settings: Settings, encoder: KeptEncoder
) -> None:
    log, policy = log_of(folder), settings.ranking.policy()
    cases = await cases_of(log, log.last_ms, settings, encoder, folder)
    assert any(case.rows.person.recents for case in cases)
    assert any(case.values[:, COLUMN["together_sum"]].any() for case in cases)
    for case in cases:
        expected = score(case.rows.person.interests, case.rows.targets, policy, at_ms=case.event.ts_ms)
        assert np.allclose(case.values @ fixed_weights(policy), expected.total, atol=1e-9)


async def test_a_delay_hides_what_happened_and_nothing_else(
    folder: Path, settings: Settings, encoder: KeptEncoder
) -> None:
    log = log_of(folder)
    hour_ms = 3_600_000
    at_once, later, never = [
        await cases_of(log, log.last_ms, settings, encoder, folder, PrequentialProtocol(delay_ms=delay_ms))
        for delay_ms in (0, hour_ms, 10**15)
    ]
    assert [case.rows.targets.ids for case in at_once] == [case.rows.targets.ids for case in later]
    assert any(not np.array_equal(one.values, other.values) for one, other in zip(at_once, later, strict=True))
    newest = [max((one.ts_ms for one in case.rows.person.recents), default=0) for case in later]
    assert all(at <= case.event.ts_ms - hour_ms for at, case in zip(newest, later, strict=True))
    assert not any(case.rows.person.recents or case.rows.targets.popularity.any() for case in never)


async def test_candidates_are_known_and_new_to_the_user(folder: Path, settings: Settings, encoder: KeptEncoder) -> None:
    log = log_of(folder)
    met: dict[str, set[str]] = {}
    known: set[str] = set()
    at = 0
    cases = await cases_of(log, log.last_ms, settings, encoder, folder)
    for case in cases:
        for draft in log.events[at : case.index]:
            told = json.loads(draft.value or b"")
            met.setdefault(told["user_id"], set()).add(told["item_id"])
            known.add(told["item_id"])
        at = case.index
        assert case.rows.targets.ids[0] == case.event.item_id
        assert case.relevant.tolist() == [True] + [False] * (len(case.rows.targets.ids) - 1)
        assert len(set(case.rows.targets.ids)) == len(case.rows.targets.ids)
        assert not met[case.event.user_id] & set(case.rows.targets.ids)
        others = zip(case.rows.targets.ids[1:], case.rows.targets.ts_ms[1:], strict=True)
        assert all(item_id in known or ts_ms <= case.event.ts_ms for item_id, ts_ms in others)
        assert case.rows.person.interests, "the user has a past"
    assert any(case.own for case in cases)


async def test_what_is_kept_is_used(tmp_path: Path, model: LoadedEncoder) -> None:
    file = tmp_path / "texts.sqlite"
    with KeptEncoder(LocalEncoder(model), file) as encoder:
        first = await encoder.encode(["a stake pool", "a wallet", "a stake pool"])
    assert np.array_equal(first.vectors[0], first.vectors[2])
    with sqlite3.connect(file) as rows_:
        assert rows_.execute("SELECT count(*) FROM texts").fetchone() == (2,)
        rows_.execute("UPDATE texts SET row = ?", (np.full(model.dim + 1, 0.5, np.float32).tobytes(),))
    rows_.close()
    with KeptEncoder(LocalEncoder(model), file) as encoder:
        kept = await encoder.encode(["a wallet", "something new"])
    assert (kept.vectors[0] == 0.5).all()
    assert np.linalg.norm(kept.vectors[1]) == pytest.approx(1.0, abs=1e-3)


async def test_all_that_is_measured_on_a_log(
    folder: Path, settings: Settings, encoder: KeptEncoder, model: LoadedEncoder
) -> None:
    log, named = log_of(folder, EVENTS // 2), NamedEncoder(encoder, model.encoder_id)
    ground = await prepare(
        settings,
        named,
        log.items,
        log.events,
        now_ms=log.last_ms,
        undated="known",
        meter=quiet,
    )
    found = await study(ground, "next", quiet)
    figures = json.loads(json.dumps(found.figures))
    assert len(found.cases) > found.figures["groups"]["next"]["cases"] > 20
    assert {SERVICE, TOUCHES} <= set(figures["groups"]["next"]["scorers"])
    assert 0 < sum(case.teaches for case in found.cases) < sum(case.events > 0 for case in found.cases)
    assert sum(figures["experts"].values()) == pytest.approx(1.0)
    assert set(figures["delays"]) == set(DELAYS_S)
    assert figures["everything"]["targets"] > 1
    assert figures["everything"]["ten"][SERVICE]["own language"] == 1.0
    assert figures["groups"]["next"]["cases"] == figures["unsigned"]["next"]["cases"]
    assert found.weights.shape == (len(NAMES),)
    assert "| without text |" in tables.page(
        {"logs": {"slice": figures}, "encoder": "light", "tree": "small", "minutes": 1,
         "transfer": {"a to b": figures["split"]},
         "languages": {"ranking": {}, "ten": {}}, "ratings": {"log": "none", "errors": {"ratings": 0.0}}}
    )  # fmt: skip
