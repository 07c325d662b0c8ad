"""A package whose modules are imported alone, until a name that its `__init__` makes is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

from streams.base.lazy_package import init_when_asked

NAME = "a_package_of_this_test"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "__init__.py").write_text(
        f"import time\nfrom {NAME} import counted\ncounted.runs += 1\ntime.sleep(0.1)\n"
        f"from {NAME}.counted import made as made\nlast = made() + 1\n"
    )
    (folder / "counted.py").write_text("runs = 0\ndef made():\n    return 41\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


def test_a_module_is_imported_without_the_rest() -> None:
    init_when_asked(NAME)
    exec(f"from {NAME} import counted\nassert counted.runs == 0")
    assert not hasattr(sys.modules[NAME], "__wrapped__")
    assert import_module(f"{NAME}.counted").runs == 0


def test_a_name_of_its_own_runs_it_once_for_all_threads() -> None:
    init_when_asked(NAME)
    init_when_asked(NAME)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: sys.modules[NAME].last, range(8)))
    assert found == [42] * 8
    assert sys.modules[NAME].made() == 41
    assert import_module(f"{NAME}.counted").runs == 1
    with pytest.raises(ImportError, match="cannot import name 'absent'"):
        exec(f"from {NAME} import absent")


def test_what_is_imported_already_stays() -> None:
    before = import_module(NAME)
    init_when_asked(NAME)
    assert sys.modules[NAME] is before
    assert "__getattr__" not in vars(before)


def test_what_is_not_installed_is_an_import_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_package_of_this_name"):
        init_when_asked("no_package_of_this_name")
