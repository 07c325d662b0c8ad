"""The demo: a day of six invented readers, or a real log, played through the whole stack, and what came of it."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from time import monotonic, time

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from deploy.demo.accounts import ReportedCounts, quantile, verdict
from deploy.demo.data import LIMIT, DemoLog, invented, real
from deploy.demo.live import LiveCounts, table
from deploy.demo.player import DemoFailed, MetricsPages, Player
from deploy.demo.readers import READERS
from deploy.demo.search import interested_users
from deploy.demo.trees import Trees
from deploy.embedded.data_directory import OWN, keep_private
from deploy.embedded.last_fold import LastFold
from deploy.embedded.stack import Stack
from deploy.embedded.status import StackStatus, addresses_table, quiet, wide_console
from deploy.embedded.supervise import PartFailed
from deploy.embedded.up import until_signal
from streams.commands.connections import admin_of
from streams.commands.event_log import EventLog
from streams.commands.sender import sender_of
from streams.commands.when import stamp

DATA_DIR = Path(".interests/demo")
#: So that the trees remember every event of the demo and can be counted.
RING_LENGTH = 4096
#: Small batches, so that the bars move while long texts are encoded, and the learner gets an example of each reader
#: from each of them.
_BATCH_RECORDS = 4
_EXAMPLES_PER_S = 200
#: All items are sent before the first event: what a log says of an item that it does not describe need not wait long.
_UNRESOLVED_S = 4
_OUTCOMES = (("applied", "applied"), ("redelivered", "redelivered"), ("duplicate", "duplicate"),
             ("unresolved", "waits for an item"))  # fmt: skip


def run(folder: Path | None, *, keep: bool, data_dir: Path = DATA_DIR) -> int:
    """Run the demo and give the exit code: 0; 1 where a part or the accounts fail; 2 where something must be changed.

    Without `folder` the invented day is played, else the folder's items and events. With `keep` the stack runs on
    until Ctrl-C. What an earlier run left in `data_dir` is deleted.
    """
    quiet()
    console = wide_console()
    status = StackStatus(console)
    environment = {
        "INTERESTS_NODES__RING_LENGTH": str(RING_LENGTH),
        "INTERESTS_WORKER__BATCH_RECORDS": str(_BATCH_RECORDS),
        "INTERESTS_LEARNING__EXAMPLES_PER_S": str(_EXAMPLES_PER_S),
        "INTERESTS_UNRESOLVED__DEADLINE_S": str(_UNRESOLVED_S),
    }
    stack = Stack(data_dir, ports="any", fresh=True, environment=environment, observe=status.changed)
    last_fold = LastFold(console)
    demo = Demo(stack, status, console, last_fold)
    return asyncio.run(until_signal(stack, demo.run(folder, keep=keep), last_fold))


class Demo:
    """One run of the demo on one stack; what it prints is meant for a terminal of a hundred columns."""

    def __init__(self, stack: Stack, status: StackStatus, console: Console, last_fold: LastFold) -> None:
        self._stack, self._status, self._console, self._last_fold = stack, status, console, last_fold

    async def run(self, folder: Path | None, *, keep: bool) -> int:
        """Start the stack, play, show, count, and stop. Raises DemoFailed, PartFailed, ConfigurationError."""
        began_s = monotonic()
        keep_private(self._stack.data_dir, (*OWN, "items.jsonl", "events.jsonl"))
        data = invented(self._stack.data_dir) if folder is None else real(folder, self._stack.data_dir)
        self._introduce(data)
        with self._status:
            async with self._stack:
                self._status.end()
                playing = asyncio.create_task(self._play(data, began_s))
                failing = asyncio.create_task(self._stack.failed())
                try:
                    await asyncio.wait({playing, failing}, return_when=asyncio.FIRST_COMPLETED)
                    if not playing.done():
                        raise failing.result()
                    playing.result()
                    if keep:
                        self._suggest_commands(data)
                        raise await self._kept(failing)
                finally:
                    for task in (playing, failing):
                        task.cancel()
                    await asyncio.gather(playing, failing, return_exceptions=True)
                self._heading("Stopping")
        return 0

    async def _kept(self, failing: asyncio.Task[PartFailed]) -> PartFailed:
        """Wait while the stack runs on. What a stop folds first is the user's own: the demo's is folded already."""
        try:
            return await asyncio.shield(failing)
        except asyncio.CancelledError:
            await self._last_fold.run(self._stack)
            raise

    async def _play(self, data: DemoLog, began_s: float) -> None:
        settings, console = self._stack.settings, self._console
        with EventLog([data.events]) as log:
            shift_ms = int(time() * 1000) - (log.last_ms or 0)
            pages = MetricsPages(self._stack.worker_metrics_url, self._stack.learner_metrics_url)
            async with sender_of(settings) as sender, admin_of(settings) as admin:
                player = Player(settings, sender, admin, pages, console, shift_ms)
                async with Trees(settings, console) as trees:
                    try:
                        await self._halves(data, log, player, trees, shift_ms)
                        await self._search(data, trees)
                        await self._show_accounts(player, trees, monotonic() - began_s)
                    finally:
                        await player.close()

    async def _halves(self, data: DemoLog, log: EventLog, player: Player, trees: Trees, shift_ms: int) -> None:
        console = self._console
        self._heading("The catalogue", "each item is encoded by Triton and placed on the concept tree")
        await player.items(data.items)
        entries = log.lines()
        first = list(islice(entries, log.count // 2))
        split_ms = (first[-1].ts_ms if first else 0) + shift_ms
        self._heading("First half", f"{len(first):,} events, to {stamp(split_ms)}: as fast as the worker takes them")
        await player.events(iter(first), "events")
        half = await self._live_since(LiveCounts({}, 0, 0), player)
        for user, about in data.shown.items():
            self._heading(f"{_short(user)} at half-time", about)
            console.print(await trees.draw(user, split_ms))
        self._heading("Second half", f"{log.count - len(first):,} events, to now")
        await player.events(entries, "events")
        await self._live_since(half, player)
        for user in data.shown:
            self._heading(f"{_short(user)} now", "large branches of the same tree")
            console.print(await trees.draw(user))
            console.print(Text("\nWhat they like, by topic, at half-time and now:", "dim"))
            console.print(trees.changed(user))

    async def _live_since(self, before: LiveCounts, player: Player) -> LiveCounts:
        """Show how well what people took was foretold since `before`."""
        now = await player.live()
        title = f"weights of version {now.version}" if now.version else "nothing learned yet"
        self._heading("Live quality", f"what each ranking made of what they took, before it was learned from; {title}")
        self._console.print(table(before, now))
        return now

    async def _search(self, data: DemoLog, trees: Trees) -> None:
        self._heading("A question in words", "encoded by Triton; any Qdrant client can ask, here on level interest")
        self._console.print(f"Who is into “{data.sentence}”?")
        for user in await interested_users(data.sentence, self._stack.settings):
            line = Text(f"{user.cosine:7.3f}  {_short(user.user_id):<12}", "bold")
            self._console.print(line.append(f"  {trees.name_of(user.path)}", "not bold"))

    async def _show_accounts(self, player: Player, trees: Trees, took_s: float) -> None:
        counted = await player.counted()
        self._heading("The books", "what the worker counted, and what the trees remember")
        for line in counts(counted, player):
            self._console.print(f"  {line}")
        remembered, full = await trees.remembered(list(player.users), RING_LENGTH)
        fine, lines = verdict(player.produced, counted, remembered, full)
        for line in lines:
            self._console.print(Text(f"  {'✓' if fine else '✗'} {line}", "green" if fine else "red"))
        self._console.print(f"  {took_s:.0f} s in all, the start of the stack included")
        self._console.print()
        self._console.print(addresses_table(self._stack.addresses()))
        if not fine:
            raise DemoFailed("the accounts do not add up; the worker's log says more: "
                             f"{self._stack.data_dir / 'logs' / 'worker.log'}")  # fmt: skip

    def _introduce(self, data: DemoLog) -> None:
        title = (
            "six invented readers and an invented catalogue" if data.invented else f"the log in {data.events.parent}"
        )
        self._heading("interest-streams", title)
        if data.of:
            self._console.print(f"  The last {LIMIT:,} of its {data.of:,} events, and the items they speak of.")
        if data.invented:
            self._console.print("  Nothing here is about real people: readers, items and comments are made up.")
        self._console.print("  The broker keeps its records in memory, and the next demo begins anew: try, and keep")
        self._console.print("  nothing here. A Kafka of your own is named by INTERESTS_KAFKA__BROKERS.")

    def _suggest_commands(self, data: DemoLog) -> None:
        self._heading("Look around", "the stack runs on until Ctrl-C")
        self._console.print(f"  . {self._stack.data_dir / 'env'}")
        for user in data.shown:
            self._console.print(f"  interests show {user}")

    def _heading(self, title: str, explanation: str = "") -> None:
        self._console.print()
        self._console.print(Rule(Text(title, "bold"), align="left", style="dim"))
        if explanation:
            self._console.print(Text(f"  {explanation}", "dim"))


def _short(user: str) -> str:
    """`Bo` for one of the invented readers; others go by their id."""
    name = next((reader.name for reader in READERS if reader.id == user), "")
    return name.capitalize() or user


def counts(counted: ReportedCounts, player: Player) -> list[str]:
    """The figures of a run in lines."""
    outcomes = counted.outcomes
    quantiles_s = [quantile(counted.ages, share) for share in (0.5, 0.99)]
    ages_s = [f"{age:.2f} s" if age is not None else "none" for age in quantiles_s]
    became = ", ".join(f"{outcomes.get(name, 0):,} {meaning}" for name, meaning in _OUTCOMES)
    return [
        f"{player.items_sent:>7,} items: {counted.items:,} described, {counted.dead_items:,} dead letters",
        f"{player.produced:>7,} events: {became}, {counted.dead:,} dead letters",
        f"{player.refused.total():>7,} lines refused before sending",
        f"{counted.nodes:>7,} nodes written",
        f"        age at apply: half under {ages_s[0]}, 99 % under {ages_s[1]}; each half's events are sent at once",
    ]
