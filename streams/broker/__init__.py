"""The Kafka edge: the only package of `streams/` that imports Faust or aiokafka.

A worker is a Faust app without tables whose agents work on whole fetched batches:

    app = make_app(KafkaConfig(brokers=("127.0.0.1:9092",), group_id="interests"))

    @app.agent(app.topic("clicks"))
    async def clicks(stream):
        async for batch in gather_batches(app, stream, max_records=4_000):
            await work_on(batch.records)
            await batch.ack()         # False: the assignment ended meanwhile, the records are read again

    exit_code = await run_worker(app)

Nothing is acknowledged but by `batch.ack()`, and nothing is committed past a batch that was not. A batch whose
assignment has ended is `stale()`; its partitions are read again from their committed offsets, here or elsewhere.

- `config`     addresses, group, limits, secrets of a client
- `fetched_batch` batches and the ledger of what was handed out and acknowledged (pure)
- `consumer_thread` the thread that owns the aiokafka consumer
- `transport`  Faust's consumer and transport, handing out batches
- `app`        the Faust app · `batches` for agents · `in_order` one or two of them at a time
- `lifecycle`  start, watch, stop, exit code
- `liveness`   the judge of what stands still · `consumer_state` what it is judged by · `lag` what lag is
- `producer`   acknowledged sending · `partitions` which partition a key belongs to
- `admin`      topics, groups, lag · `topic_session` a whole topic without a group · `follow` one from now on
- `read_all`   a topic once, to its end
- `read_window` topics between two times
- `read_spans` stretches of the log a second time
- `clients`    foreign errors to ours · `tansu` what exists for the embedded broker alone
"""

from __future__ import annotations

from streams.broker.admin import Admin, Group, Lag, Member, Topic, TopicSpec
from streams.broker.app import BrokerApp, make_app
from streams.broker.batches import Batch, gather_batches
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import FetchedBatch, GroupIdentity, Partition, Record
from streams.broker.lifecycle import run_worker
from streams.broker.liveness import LivenessJudge, LivenessLimits
from streams.broker.producer import Outgoing, Producer

__all__ = [
    "Admin",
    "Batch",
    "BrokerApp",
    "FetchedBatch",
    "Group",
    "GroupIdentity",
    "KafkaConfig",
    "Lag",
    "LivenessJudge",
    "LivenessLimits",
    "Member",
    "Outgoing",
    "Partition",
    "Producer",
    "Record",
    "Topic",
    "TopicSpec",
    "gather_batches",
    "make_app",
    "run_worker",
]
