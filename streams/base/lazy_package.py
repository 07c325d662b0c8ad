"""Packages whose modules are used without all that their `__init__` imports."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import RLock
from typing import Any


def init_when_asked(name: str) -> None:
    """Let modules of a package be imported alone: its `__init__` runs once a name that it makes is asked for.

    Nothing changes where the package is imported already. ModuleNotFoundError where it is not installed.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package, loader, lock = module_from_spec(spec), spec.loader, RLock()
    running = False

    def missing(attribute: str) -> Any:
        nonlocal running
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        module = f"{name}.{attribute}"
        if find_spec(module) is not None:
            return import_module(module)
        with lock:
            if running:  # this thread runs `__init__`, which has not made it yet
                raise AttributeError(attribute)
            if "__getattr__" in vars(package):
                running = True
                try:
                    loader.exec_module(package)
                    del package.__getattr__
                finally:
                    running = False
        return getattr(package, attribute)

    package.__getattr__ = missing  # type: ignore[method-assign]  # as PEP 562 has it
    sys.modules[name] = package
