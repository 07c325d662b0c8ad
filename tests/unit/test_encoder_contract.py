"""The committed model repository says what the contract says."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from encoders import contract
from encoders.contract import EMBEDDING, INPUTS, MODEL_NAME, OUTPUTS, SENTIMENT, TEXT
from encoders.export import SHELL, encoder_config
from encoders.model_repository import TensorSpec
from streams.base.errors import ConfigurationError
from streams.encoder.text_model import info_of

REPO = Path(__file__).resolve().parents[2] / "model_repo" / MODEL_NAME


def parsed(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.fixture(scope="module")
def config() -> model_config_pb2.ModelConfig:
    return parsed((REPO / "config.pbtxt").read_text(encoding="utf-8"))


def test_tensors_are_those_of_the_contract(config: model_config_pb2.ModelConfig) -> None:
    def spec(tensor: model_config_pb2.ModelInput | model_config_pb2.ModelOutput) -> tuple[str, str, list[int]]:
        return tensor.name, model_config_pb2.DataType.Name(tensor.data_type), list(tensor.dims)

    dim = config.output[0].dims[0]
    assert dim > 0
    assert [spec(tensor) for tensor in config.input] == [(s.name, s.config_dtype, list(s.shape[1:])) for s in INPUTS]
    assert [spec(tensor) for tensor in config.output] == [
        (s.name, s.config_dtype, [dim if n == -1 else n for n in s.shape[1:]]) for s in OUTPUTS
    ]


def test_the_queue_is_bounded_and_rejects(config: model_config_pb2.ModelConfig) -> None:
    policy = config.dynamic_batching.default_queue_policy
    assert config.max_batch_size == contract.MAX_BATCH
    assert policy.max_queue_size == contract.MAX_QUEUE
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert policy.allow_timeout_override
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_AUTO]


def test_the_committed_files_are_what_export_writes(config: model_config_pb2.ModelConfig) -> None:
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parsed(encoder_config(config.output[0].dims[0], parameters)) == config
    assert (REPO / "1" / "model.py").read_text(encoding="utf-8") == SHELL
    assert not Path(parameters["model"]).is_absolute()
    assert not parameters["cache"]


def test_a_client_learns_id_and_dimension(config: model_config_pb2.ModelConfig) -> None:
    info = info_of(config, 256)
    assert info.encoder_id == config.parameters[contract.ENCODER_ID_PARAMETER].string_value
    assert (info.dim, info.max_batch) == (config.output[0].dims[0], contract.MAX_BATCH)


@pytest.mark.parametrize("field", ["output", "parameters"])
def test_another_kind_of_model_is_refused(config: model_config_pb2.ModelConfig, field: str) -> None:
    other = model_config_pb2.ModelConfig()
    other.CopyFrom(config)
    other.ClearField(field)
    with pytest.raises(ConfigurationError, match="export it"):
        info_of(other, 64)


def test_quotes_in_a_parameter_survive() -> None:
    written = parsed(encoder_config(8, {"model": 'a "b" \\ c'}))
    assert written.parameters["model"].string_value == 'a "b" \\ c'


def test_specs_name_their_types() -> None:
    assert [spec.config_dtype for spec in (TEXT, EMBEDDING, SENTIMENT)] == ["TYPE_STRING", "TYPE_FP32", "TYPE_FP32"]
    assert TensorSpec("X", "FP32", (-1, -1, 3)).with_sizes(7).shape == (-1, 7, 3)
    with pytest.raises(ValueError, match="as many sizes as vary"):
        TensorSpec("X", "FP32", (-1, -1, 3)).with_sizes(7, 8)
