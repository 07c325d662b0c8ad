"""Qdrant's query messages to the engine's queries, ids of example points resolved to their vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant.errors import not_implemented, wrong_input
from deploy.embedded.qdrant.filters import optional_filter, timestamp_in, without_ids
from deploy.embedded.qdrant.formulas import formula_in
from deploy.embedded.qdrant.values import FiniteCheck, PointId, floats_in, id_in, sparse_in
from streams.store.messages import grpc as pb

DEFAULT_LIMIT = 10
DEFAULT_RRF_K = 2
MAX_PREFETCH_DEPTH = 16

Lookup = Callable[[PointId, str, Any], Any]  # id, vector name, LookupLocation or None -> the point's vector


class QueryReader:
    """Translates one request. `lookup` finds the vector of a point that serves as an example."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def request(self, message: Any, *, limit: int | None = None, payload: Any = None, vector: Any = None) -> Any:
        """Return the engine's QueryRequest for QueryPoints or QueryPointGroups."""
        size = limit if limit is not None else _limit(message)
        offset = message.offset if hasattr(message, "offset") else 0
        part = self._part(message, size)
        return edge.QueryRequest(
            limit=size,
            offset=offset,
            query=part.query,
            prefetches=part.prefetches or None,
            with_vector=vector,
            with_payload=payload,
            filter=part.filter,
            score_threshold=message.score_threshold if message.HasField("score_threshold") else None,
            params=search_params(message),
        )

    def _part(self, message: Any, limit: int, depth: int = 0) -> _Part:
        if depth > MAX_PREFETCH_DEPTH:
            raise wrong_input(f"Prefetch is nested deeper than {MAX_PREFETCH_DEPTH} levels")
        part = _Part(self._lookup, message, limit)
        part.prefetches = [self._prefetch(item, depth + 1) for item in message.prefetch]
        if isinstance(part.query, edge.Fusion) and not part.prefetches:
            raise wrong_input("Fusion queries need prefetches to fuse: expected at least one prefetch")
        return part

    def _prefetch(self, message: Any, depth: int) -> edge.Prefetch:
        limit = _limit(message)
        part = self._part(message, limit, depth)
        return edge.Prefetch(
            limit=limit,
            query=part.query,
            prefetches=part.prefetches or None,
            params=search_params(message),
            filter=part.filter,
            score_threshold=message.score_threshold if message.HasField("score_threshold") else None,
        )


class _Part:
    """The query and filter of one level of a request."""

    def __init__(self, lookup: Lookup, message: Any, limit: int) -> None:
        self.prefetches: list[edge.Prefetch] = []
        self._lookup = lookup
        self._using = message.using if message.HasField("using") else ""
        self._from = message.lookup_from if message.HasField("lookup_from") else None
        self._limit = limit
        self._check = FiniteCheck()
        self._examples: list[PointId] = []
        self.query = self._query(message.query) if message.HasField("query") else None
        self._check.require()
        # an example point is never its own result; ids of another collection mean nothing in this one
        examples = self._examples if self._from is None else []
        self.filter = without_ids(optional_filter(message), examples)

    def _query(self, query: Any) -> Any:
        kind = query.WhichOneof("variant")
        if kind is None:
            raise wrong_input("Malformed query: none of its kinds is set")
        build = getattr(self, f"_{kind}", None)
        if build is None:
            raise not_implemented(f"query `{kind}`")
        return build(getattr(query, kind))

    def _vector(self, message: Any) -> Any:
        kind = message.WhichOneof("variant")
        if kind == "dense":
            return floats_in(message.dense.data, self._check).tolist()
        if kind == "id":
            point_id = id_in(message.id)
            self._examples.append(point_id)
            return self._lookup(point_id, self._using, self._from)
        if kind == "sparse":
            return sparse_in(message.sparse, self._check)
        if kind == "multi_dense":
            return [floats_in(row.data, self._check).tolist() for row in message.multi_dense.vectors]
        if kind is None:
            raise wrong_input("Malformed query vector: none of its kinds is set")
        raise wrong_input(f"Inference of `{kind}` needs a model: send vectors")

    def _vectors(self, messages: Any) -> list[Any]:
        return [self._vector(message) for message in messages]

    def _nearest(self, message: Any) -> Any:
        return edge.Query.Nearest(self._vector(message), self._using or None)

    def _nearest_with_mmr(self, message: Any) -> Any:
        mmr = message.mmr
        diversity = mmr.diversity if mmr.HasField("diversity") else 0.5
        if not 0.0 <= diversity <= 1.0:
            raise wrong_input(f"MMR diversity is {diversity}: expected 0 to 1")
        candidates = mmr.candidates_limit if mmr.HasField("candidates_limit") else self._limit
        return edge.Mmr(self._vector(message.nearest), 1.0 - diversity, candidates, self._using or None)

    def _recommend(self, message: Any) -> Any:
        positive, negative = self._vectors(message.positive), self._vectors(message.negative)
        strategy = message.strategy if message.HasField("strategy") else pb.RecommendStrategy.AverageVector
        if strategy == pb.RecommendStrategy.AverageVector:
            return edge.Query.Nearest(_average(positive, negative), self._using or None)
        if not positive and not negative:
            raise wrong_input("Recommendation has no example: expected a positive or a negative one")
        examples = edge.RecommendQuery(positive, negative)
        if strategy == pb.RecommendStrategy.BestScore:
            return edge.Query.RecommendBestScore(examples, self._using or None)
        return edge.Query.RecommendSumScores(examples, self._using or None)

    def _discover(self, message: Any) -> Any:
        target = self._vector(message.target)
        return edge.Query.Discover(edge.DiscoverQuery(target, self._pairs(message.context)), self._using or None)

    def _context(self, message: Any) -> Any:
        return edge.Query.Context(edge.ContextQuery(self._pairs(message)), self._using or None)

    def _pairs(self, message: Any) -> list[edge.ContextPair]:
        return [edge.ContextPair(self._vector(pair.positive), self._vector(pair.negative)) for pair in message.pairs]

    def _order_by(self, message: Any) -> edge.OrderBy:
        return order_by_in(message)

    def _fusion(self, fusion: int) -> Any:
        return edge.Fusion.Rrf(k=DEFAULT_RRF_K) if fusion == pb.Fusion.RRF else edge.Fusion.Dbsf()

    def _rrf(self, message: Any) -> Any:
        k = message.k if message.HasField("k") else DEFAULT_RRF_K
        return edge.Fusion.Rrf(k=k, weights=list(message.weights) or None)

    def _sample(self, _kind: int) -> Any:
        return edge.Sample.Random

    def _formula(self, message: Any) -> edge.Formula:
        return formula_in(message)

    def _relevance_feedback(self, message: Any) -> Any:
        naive = message.strategy.naive
        feedback = [edge.FeedbackItem(self._vector(item.example), item.score) for item in message.feedback]
        strategy = edge.NaiveFeedbackStrategy(naive.a, naive.b, naive.c)
        query = edge.FeedbackNaiveQuery(self._vector(message.target), feedback, strategy)
        return edge.Query.FeedbackNaive(query, self._using or None)


def _limit(message: Any) -> int:
    return message.limit if message.HasField("limit") else DEFAULT_LIMIT


def _average(positive: list[Any], negative: list[Any]) -> list[float]:
    """The mean of the positive examples, moved as far again away from the mean of the negative ones."""
    if not positive:
        raise wrong_input("Positive vectors should not be empty with `average` strategy")
    if not all(isinstance(row, list) and row and isinstance(row[0], float) for row in positive + negative):
        raise not_implemented("average recommendation over sparse or multi-vectors: use the best_score strategy")
    if len({len(row) for row in positive + negative}) != 1:
        raise wrong_input("Vector dimension error: the examples have different sizes")
    mean = [sum(column) / len(positive) for column in zip(*positive, strict=True)]
    if not negative:
        return mean
    away = [sum(column) / len(negative) for column in zip(*negative, strict=True)]
    return [2 * here - there for here, there in zip(mean, away, strict=True)]


def order_by_in(message: Any) -> edge.OrderBy:
    """Return the engine's ordering by a payload key."""
    start: Any = None
    if message.HasField("start_from"):
        kind = message.start_from.WhichOneof("value")
        if kind is not None:
            value = getattr(message.start_from, kind)
            start = timestamp_in(value) if kind == "timestamp" else value
    descending = message.HasField("direction") and message.direction == pb.Direction.Desc
    return edge.OrderBy(message.key, edge.Direction.Desc if descending else edge.Direction.Asc, start)


def search_params(message: Any) -> edge.SearchParams | None:
    """Return the engine's search parameters of a request, if it has any."""
    if not message.HasField("params"):
        return None
    params = message.params
    quantization = None
    if params.HasField("quantization"):
        given = params.quantization
        quantization = edge.QuantizationSearchParams(
            ignore=given.ignore,
            rescore=given.rescore if given.HasField("rescore") else None,
            oversampling=given.oversampling if given.HasField("oversampling") else None,
        )
    return edge.SearchParams(
        hnsw_ef=params.hnsw_ef if params.HasField("hnsw_ef") else None,
        exact=params.exact,
        quantization=quantization,
        indexed_only=params.indexed_only,
    )
