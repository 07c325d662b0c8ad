"""The model of learned interests: exported, served by the real Triton as torch answers; wrong requests; a swap."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from deploy.embedded.models import MODEL_REPO, answers_about_people, model_repository
from deploy.images.encodes import ask_interests
from encoders import interest_contract as contract
from encoders.answers import TASKS, Answers
from encoders.errors import ModelError
from encoders.hierarchy_files import LearnedHierarchy
from encoders.hierarchy_model import HierarchyConfig, HierarchyModel
from encoders.histories import Histories
from encoders.interest_backends import make_interest_backend, read_served
from encoders.interest_checks import check_promise
from encoders.interest_export import SHELL, Measured, export_interests, fastest, loss, made_up
from encoders.served import served_encoder
from streams.base.errors import ConfigurationError, EncoderUnavailable
from streams.commands.cli import app
from streams.commands.findings import Findings
from streams.commands.server_checks import check_learned
from streams.encoder.interest_client import TritonInterests, interest_info_of
from streams.encoder.text_model import EncoderInfo
from streams.encoder.triton import RequestRefused
from streams.settings.service import Settings, load
from tests.fixtures.learned import random_model, trained_folder
from tests.fixtures.triton import TritonServer

ENCODER = "tiny-0123abcd"
DIM, HISTORY, TASK_COUNT = 16, 8, len(TASKS)


@pytest.fixture(scope="module")
def learned() -> LearnedHierarchy:
    return random_model(ENCODER, dim=DIM, history=HISTORY)


@pytest.fixture(scope="module")
def repo(learned: LearnedHierarchy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interests")
    trained = trained_folder(learned, folder / "trained")
    options = ["--out", str(folder / "repo"), "--precision", "f32", "--threads", "1", "--backend", "openvino"]
    result = CliRunner().invoke(app, ["encoder", "export-interests", str(trained), *options])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert f"{learned.model_id} for {ENCODER}, openvino-cpu-f32" in said
    assert "cosines within 0.0000, probabilities within 0.0000 (made-up histories)" in said
    return folder / "repo"


@pytest.fixture(scope="module")
def server(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    server = TritonServer(repo, tmp_path_factory.mktemp("triton"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def client(server: TritonServer) -> TritonInterests:
    return TritonInterests(server.grpc_url, encoder_id=ENCODER, deadline_s=20.0, max_batch=16)


def config_of(repo: Path) -> model_config_pb2.ModelConfig:
    text = (repo / contract.MODEL_NAME / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def rounded(histories: Histories) -> Histories:
    """As they travel: vectors in float16."""
    vectors = histories.vectors.astype(np.float16).astype(np.float32)
    return Histories(vectors, histories.types, histories.weights, histories.ages_s)


def assert_alike(got: Answers, expected: Answers, tolerance: float = 1e-3) -> None:
    for name in ("interests", "scales", "biases", "click_through", "attention"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=tolerance, err_msg=name)


async def server_is_ready(server: TritonServer) -> bool:
    return await asyncio.to_thread(server.ready)


class TestConfiguration:
    def test_it_is_the_contract(self, repo: Path, learned: LearnedHierarchy) -> None:
        config = config_of(repo)
        said = [
            (tensor.name, model_config_pb2.DataType.Name(tensor.data_type), list(tensor.dims))
            for tensor in (*config.input, *config.output)
        ]
        assert said == [
            ("VECTORS", "TYPE_FP16", [HISTORY, DIM]), ("TYPES", "TYPE_INT32", [HISTORY]),
            ("WEIGHTS", "TYPE_FP32", [HISTORY]), ("AGES", "TYPE_FP32", [HISTORY]),
            ("INTERESTS", "TYPE_FP32", [1 + TASK_COUNT, DIM]), ("SCALES", "TYPE_FP32", [TASK_COUNT]),
            ("BIASES", "TYPE_FP32", [TASK_COUNT]), ("CLICK_THROUGH", "TYPE_FP32", [2]),
            ("ATTENTION", "TYPE_FP32", [HISTORY]),
        ]  # fmt: skip
        assert [one[0] for one in said] == [spec.name for spec in (*contract.INPUTS, *contract.OUTPUTS)]
        assert config.max_batch_size == contract.MAX_BATCH
        assert config.dynamic_batching.default_queue_policy.max_queue_size == contract.MAX_QUEUE
        assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_AUTO]
        assert config.parameters["model_id"].string_value == learned.model_id
        assert config.parameters["encoder_id"].string_value == ENCODER
        assert config.parameters["tasks"].string_value == ",".join(TASKS)
        assert (repo / contract.MODEL_NAME / "1" / "model.py").read_text(encoding="utf-8") == SHELL

    def test_a_client_learns_what_is_served(self, repo: Path, learned: LearnedHierarchy) -> None:
        info = interest_info_of(config_of(repo), 1_000)
        assert (info.model_id, info.encoder_id, info.tasks) == (learned.model_id, ENCODER, TASKS)
        assert (info.history, info.dim, info.max_batch) == (HISTORY, DIM, contract.MAX_BATCH)

    @pytest.mark.parametrize("field", ["input", "output", "parameters"])
    def test_another_kind_of_model_is_refused(self, repo: Path, field: str) -> None:
        config = config_of(repo)
        config.ClearField(field)
        with pytest.raises(ConfigurationError, match="export"):
            interest_info_of(config, 64)


class TestExport:
    def test_no_precision_but_the_plain_one_is_taken_where_it_does_not_pay(self) -> None:
        plain = Measured(1_000, 0.0, 0.0)
        assert fastest({}) == "f32"
        assert fastest({"f32": plain, "bf16": Measured(1_100, 0.001, 0.001)}) == "f32"
        assert fastest({"f32": plain, "bf16": Measured(1_300, 0.001, 0.001)}) == "bf16"
        assert fastest({"f32": plain, "bf16": Measured(1_300, 0.001, 0.03)}) == "f32"
        assert fastest({"f32": plain, "bf16": Measured(1_300, 0.001, 0.001), "int8": Measured(1_400, 0.01, 0.01)}) == (
            "int8"
        )

    def test_eight_bits_lose_what_is_stated(self, learned: LearnedHierarchy, tmp_path: Path) -> None:
        trained = trained_folder(learned, tmp_path / "trained")
        exported = export_interests(trained, tmp_path / "repo", precision="int8", backend="openvino", threads=1)
        stated, sample = exported.measured["int8"], made_up(learned, 64)
        backend = make_interest_backend(exported.folder / "1", backend="openvino", precision="int8", threads=1)
        cosine, probability = loss(learned.answers(sample), backend.run(sample), sample)
        weights = (exported.folder / "1" / "graph.xml").read_text(encoding="utf-8").count('element_type="i8"')
        assert weights > 5
        assert exported.made_up
        assert 0 < cosine <= 0.02
        assert (cosine, probability) == pytest.approx((stated.cosine_loss, stated.probability_loss), abs=1e-3)

    def test_a_processor_is_served_without_torch(self, repo: Path, tmp_path: Path) -> None:
        code = """
import sys
sys.modules["torch"] = None
from pathlib import Path
import encoders.interest_checks
from encoders.histories import Histories
from encoders.interest_backends import make_interest_backend
backend = make_interest_backend(Path(sys.argv[1]), backend="openvino", threads=1)
print(backend.run(Histories.empty(2, 8, 16)).interests.shape)
"""
        ran = subprocess.run(
            [sys.executable, "-c", code, str(repo / contract.MODEL_NAME / "1")], capture_output=True, text=True,
            timeout=60, check=False, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert (ran.returncode, ran.stdout.strip()) == (0, "(2, 4, 16)"), ran.stderr

    def test_the_embedded_stack_serves_it_beside_the_text_encoder(self, tmp_path: Path) -> None:
        beside = served_encoder(MODEL_REPO)
        assert beside is not None
        learned = random_model(beside.encoder_id, dim=DIM, history=HISTORY)
        repo = model_repository(tmp_path, trained_folder(learned, tmp_path / "trained"))
        assert sorted(path.name for path in repo.iterdir()) == ["interest_encoder", "text_encoder"]
        assert interest_info_of(config_of(repo), 64).model_id == learned.model_id
        assert model_repository(tmp_path, None) == MODEL_REPO
        with pytest.raises(ConfigurationError, match=r"--interest-model: .* holds no trained model"):
            model_repository(tmp_path, MODEL_REPO)

    def test_a_model_that_was_not_trained_is_refused(self, tmp_path: Path) -> None:
        begun = LearnedHierarchy(HierarchyModel(HierarchyConfig(dim=DIM, history=HISTORY, hidden=16)).eval(), ENCODER)
        with pytest.raises(ModelError, match="gives a newcomer interests without a direction"):
            export_interests(trained_folder(begun, tmp_path / "begun"), tmp_path / "repo", precision="f32", threads=1)
        assert not (tmp_path / "repo" / contract.MODEL_NAME).exists()

    def test_a_model_that_cannot_be_read_leaves_what_was_served(self, repo: Path, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        before = sorted(path.name for path in repo.rglob("*"))
        with pytest.raises(ModelError, match="holds no trained model"):
            export_interests(tmp_path, repo)
        assert sorted(path.name for path in repo.rglob("*")) == before

    @pytest.mark.parametrize(
        ("name", "other"), [("model_id", "interest-mean-00000000"), ("encoder_id", "x"), ("tasks", "click"),
                            ("history", "9"), ("graph", "00")]
    )  # fmt: skip
    def test_a_model_beside_the_configuration_of_another_is_not_served(self, repo: Path, name: str, other: str) -> None:
        folder, message = repo / contract.MODEL_NAME / "1", config_of(repo)
        config = json_format.MessageToDict(message, preserving_proto_field_name=True)
        parameters = {key: value.string_value for key, value in message.parameters.items()}
        check_promise(read_served(folder), config, parameters, folder)
        with pytest.raises(ModelError, match=f"promises {name} '{other}'"):
            check_promise(read_served(folder), config, {**parameters, name: other}, folder)
        config["output"][1]["dims"] = [7]
        with pytest.raises(ModelError, match="promises outputs of"):
            check_promise(read_served(folder), config, parameters, folder)


@pytest.mark.integration
class TestServed:
    async def test_the_answers_are_those_of_torch(self, client: TritonInterests, learned: LearnedHierarchy) -> None:
        histories = rounded(made_up(learned, 40))  # three requests, people without a history among them
        served = await client.answers(histories)
        assert served.info.model_id == learned.model_id
        assert_alike(served.answers, learned.answers(histories))
        assert len((await client.answers(histories[:0])).answers.interests) == 0
        await client.close()

    async def test_what_a_newcomer_gets(self, client: TritonInterests, learned: LearnedHierarchy) -> None:
        nobody = Histories.empty(1, HISTORY, DIM)
        answers = (await client.answers(nobody)).answers
        assert_alike(answers, learned.answers(nobody))
        assert answers.attention.sum() == 0
        await client.close()

    async def test_the_doctor_asks_it(self, server: TritonServer, learned: LearnedHierarchy) -> None:
        settings = load(triton={"url": server.grpc_url}, learned={"model": contract.MODEL_NAME})

        async def found(settings: Settings, encoder_id: str) -> list[tuple[str, str]]:
            findings = Findings("Triton")
            await check_learned(findings, settings, EncoderInfo(encoder_id, DIM, 8))
            return [(one.status, one.seen) for one in findings.entries]

        assert await found(load(triton={"url": server.grpc_url}), ENCODER) == []
        [(status, seen)] = await found(settings, ENCODER)
        assert (status, seen) == ("OK", f"{learned.model_id}, {HISTORY} items a person, tasks {', '.join(TASKS)}")
        [(status, seen)] = await found(settings, "other-0123abcd")
        assert status == "FAIL"
        assert f"trained on vectors of {ENCODER}, not of other-0123abcd" in seen
        [(status, seen)] = await found(load(triton={"url": server.grpc_url}, learned={"model": "none"}), ENCODER)
        assert (status, seen) == ("FAIL", "model none does not answer that it is ready")

    async def test_longer_and_shorter_histories_keep_the_latest(
        self, client: TritonInterests, learned: LearnedHierarchy
    ) -> None:
        longer = rounded(made_up(random_model(ENCODER, dim=DIM, history=HISTORY + 3), 24))
        answers = (await client.answers(longer)).answers
        for at in range(len(longer)):
            used = int((longer.types[at] > 0).sum())
            cut = slice(max(0, used - HISTORY), max(HISTORY, used))
            own = Histories(
                longer.vectors[at : at + 1, cut], longer.types[at : at + 1, cut], longer.weights[at : at + 1, cut],
                longer.ages_s[at : at + 1, cut],
            )  # fmt: skip
            np.testing.assert_allclose(answers.interests[at], learned.answers(own).interests[0], atol=1e-3)
        short = Histories(longer.vectors[:, :3], longer.types[:, :3], longer.weights[:, :3], longer.ages_s[:, :3])
        assert np.isfinite((await client.answers(short)).answers.interests).all()
        await client.close()

    async def test_a_wrong_request_is_refused_and_the_next_one_is_not(
        self, client: TritonInterests, learned: LearnedHierarchy
    ) -> None:
        fine = made_up(learned, 9)
        for change, expected in (
            ({"types": np.full_like(fine.types, 99)}, "codes from 0"),
            ({"types": np.flip(fine.types, 1).copy()}, "padding, at the end"),
            ({"ages_s": fine.ages_s - 1}, "at least 0"),
        ):
            parts = {"vectors": fine.vectors, "types": fine.types, "weights": fine.weights, "ages_s": fine.ages_s}
            with pytest.raises(RequestRefused, match=expected):
                await client.answers(Histories(**{**parts, **change}))
        with pytest.raises(ConfigurationError, match="vectors of 16 numbers, these have 4"):
            await client.answers(Histories.empty(1, HISTORY, 4))
        with pytest.raises(ValueError, match="vectors of histories are to be finite"):
            await client.answers(Histories(fine.vectors + np.nan, fine.types, fine.weights, fine.ages_s))
        assert_alike((await client.answers(rounded(fine))).answers, learned.answers(rounded(fine)))
        await client.close()

    async def test_the_model_of_another_text_encoder_is_refused(self, server: TritonServer) -> None:
        other = TritonInterests(server.grpc_url, encoder_id="other-0123abcd")
        with pytest.raises(ConfigurationError, match=f"trained on vectors of {ENCODER}, not of other-0123abcd"):
            await other.info()
        await other.close()

    async def test_requests_that_share_a_pass_do_not_share_their_faults(
        self, server: TritonServer, learned: LearnedHierarchy
    ) -> None:
        good = [TritonInterests(server.grpc_url, encoder_id=ENCODER, deadline_s=20.0) for _ in range(3)]
        for one in good:
            await one.info()
        fine = rounded(made_up(learned, 5))
        wrong = Histories(fine.vectors, np.full_like(fine.types, 99), fine.weights, fine.ages_s)
        got = await asyncio.gather(
            good[0].answers(fine), good[1].answers(wrong), good[2].answers(fine), return_exceptions=True
        )
        assert isinstance(got[1], RequestRefused)
        for outcome in (got[0], got[2]):
            assert not isinstance(outcome, BaseException)
            assert_alike(outcome.answers, learned.answers(fine))
        for one in good:
            await one.close()

    async def test_a_dead_process_is_found_out(
        self, server: TritonServer, repo: Path, learned: LearnedHierarchy
    ) -> None:
        alive = answers_about_people(repo, server.grpc_url)
        assert alive is not None
        assert await alive() is True
        assert await ask_interests(server.grpc_url, ENCODER, 10.0) == learned.model_id
        assert await ask_interests(server.grpc_url, "other-0123abcd", 10.0) == ""
        server.crash_model()
        assert await server_is_ready(server)  # so Triton says
        assert await alive() is False
        with pytest.raises(EncoderUnavailable):
            await ask_interests(server.grpc_url, ENCODER, 0.5)
        server.stop()
        assert await alive() is None
        server.start()

    async def test_another_model_is_noticed(
        self, client: TritonInterests, server: TritonServer, repo: Path, learned: LearnedHierarchy, tmp_path: Path
    ) -> None:
        histories = rounded(made_up(learned, 20))
        assert (await client.answers(histories)).info.model_id == learned.model_id
        other = random_model(ENCODER, dim=DIM, history=HISTORY - 2, seed=2)
        exported = export_interests(trained_folder(other, tmp_path / "other"), repo, precision="f32", threads=1)
        server.stop()
        server.start()
        served = await client.answers(histories)
        assert served.info.model_id == exported.model_id == other.model_id != learned.model_id
        assert served.answers.attention.shape == (20, HISTORY - 2)
        await client.close()
