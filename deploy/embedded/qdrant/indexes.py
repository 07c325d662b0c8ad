"""Payload indexes: Qdrant's parameter messages to the engine's and back."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant.errors import not_implemented
from streams.store.messages import grpc as pb

_TYPES = {
    pb.FieldType.FieldTypeKeyword: edge.PayloadSchemaType.Keyword,
    pb.FieldType.FieldTypeInteger: edge.PayloadSchemaType.Integer,
    pb.FieldType.FieldTypeFloat: edge.PayloadSchemaType.Float,
    pb.FieldType.FieldTypeGeo: edge.PayloadSchemaType.Geo,
    pb.FieldType.FieldTypeText: edge.PayloadSchemaType.Text,
    pb.FieldType.FieldTypeBool: edge.PayloadSchemaType.Bool,
    pb.FieldType.FieldTypeDatetime: edge.PayloadSchemaType.Datetime,
    pb.FieldType.FieldTypeUuid: edge.PayloadSchemaType.Uuid,
}
_PARAMS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "keyword_index_params": (edge.KeywordIndexParams, ("is_tenant", "on_disk", "enable_hnsw")),
    "integer_index_params": (edge.IntegerIndexParams, ("lookup", "range", "is_principal", "on_disk", "enable_hnsw")),
    "float_index_params": (edge.FloatIndexParams, ("is_principal", "on_disk", "enable_hnsw")),
    "geo_index_params": (edge.GeoIndexParams, ("on_disk", "enable_hnsw")),
    "bool_index_params": (edge.BoolIndexParams, ("on_disk", "enable_hnsw")),
    "datetime_index_params": (edge.DatetimeIndexParams, ("is_principal", "on_disk", "enable_hnsw")),
    "uuid_index_params": (edge.UuidIndexParams, ("is_tenant", "on_disk", "enable_hnsw")),
    "text_index_params": (
        edge.TextIndexParams,
        ("lowercase", "min_token_len", "max_token_len", "on_disk", "phrase_matching", "ascii_folding", "enable_hnsw"),
    ),
}
_TOKENIZERS = {
    pb.TokenizerType.Prefix: edge.TokenizerType.Prefix,
    pb.TokenizerType.Whitespace: edge.TokenizerType.Whitespace,
    pb.TokenizerType.Word: edge.TokenizerType.Word,
    pb.TokenizerType.Multilingual: edge.TokenizerType.Multilingual,
}


def create(request: Any) -> list[edge.UpdateOperation]:
    """CreateFieldIndexCollection: the type's defaults, or the parameters given."""
    kind = request.field_index_params.WhichOneof("index_params")
    params = getattr(request.field_index_params, kind) if kind else None
    schema = _params(kind, params) if kind else _TYPES[request.field_type]
    return [edge.UpdateOperation.create_field_index(request.field_name, schema)]


def delete(request: Any) -> list[edge.UpdateOperation]:
    """DeleteFieldIndexCollection."""
    return [edge.UpdateOperation.delete_field_index(request.field_name)]


def _params(kind: str, message: Any) -> Any:
    build, fields = _PARAMS[kind]
    given = {name: getattr(message, name) for name in fields if message.HasField(name)}
    if kind == "text_index_params":
        for name in ("stopwords", "stemmer", "scoring"):
            if message.HasField(name):
                raise not_implemented(f"text index parameter `{name}`")
        given["tokenizer"] = _TOKENIZERS.get(message.tokenizer, edge.TokenizerType.Word)
    return build(**given)


def schema_out(target: Any, schema: dict[str, edge.PayloadIndexInfo]) -> None:
    """Write the engine's payload schema into the map of PayloadSchemaInfo messages of a collection's info."""
    for key, info in schema.items():
        name = str(info.data_type).rsplit(".", 1)[-1]
        entry = target[key]
        entry.data_type = pb.PayloadSchemaType.Value(name)
        entry.points = info.points
        if info.params is None:
            continue
        kind = f"{name.lower()}_index_params"
        given: Any = info.params
        params = getattr(entry.params, kind)
        params.SetInParent()
        for field in _PARAMS[kind][1]:
            value = getattr(given, field)
            if value is not None:
                setattr(params, field, value)
        if kind == "text_index_params":
            params.tokenizer = pb.TokenizerType.Value(str(given.tokenizer).rsplit(".", 1)[-1])
