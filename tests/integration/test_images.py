"""The service image's tree: installed as the Dockerfile does, run read-only as uid 10001 on the real servers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from deploy.embedded.ports import free_ports
from tests.fixtures.path import Rig
from tests.images.tree import Tree, interpreter
from tests.images.walk import walk

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("broker", ["tansu"], indirect=True)]
#: What would make it large, or belongs to the tests.
TOO_MUCH = {"torch", "transformers", "openvino", "nvidia-pytriton", "qdrant-edge-py", "scikit-learn", "pytest", "pip"}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """The tree, without the extra that is large."""
    python = interpreter()
    if python is None:
        pytest.skip("no Python from 3.11 on with pip that every user may run")
    made = Tree(tmp_path / "interests")
    made.install("service", python, EXTRAS="tracing")
    yield made
    shutil.rmtree(made.directory)


def test_worker_and_api_of_the_image_fold_an_event_and_end_in_order(
    tree: Tree, make_rig: Callable[..., Rig], broker: object, concept_file: str, tmp_path: Path
) -> None:
    assert {"interest-streams", "faust-streaming", "qdrant-client", "opentelemetry-sdk"} <= installed(tree)
    assert installed(tree) & TOO_MUCH == set()
    inside = tree.directory / Path(concept_file).name
    shutil.copy(concept_file, inside)
    inside.chmod(0o644)
    walk(tree, make_rig(broker, concepts={"file": str(inside)}, api={"port": free_ports(1)[0]}), tmp_path)


def installed(tree: Tree) -> set[str]:
    [packages] = (tree.directory / "lib").glob("python*/site-packages")
    return {one.metadata["Name"].lower().replace("_", "-") for one in metadata.distributions(path=[str(packages)])}
