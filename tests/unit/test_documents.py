"""Documents hold: lines are short, links resolve, modules that they name exist, and the site is built of them."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 120
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
OF_TODAY = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which also names what is gone

_UNBREAKABLE = re.compile(r"\s*(?:[-*] |\d+\. )?(?:\S+|!?\[[^\]]*\]\(\S+\)[.,:]?|`[^`]+`[.,:]?)")
_PATH = re.compile(r"(?<![\w/.@:-])(?:streams|encoders|deploy|tests|model_repo|docs)/[\w./*-]*[\w*/]")
_DOTTED = re.compile(r"(?<![\w/.-])(?:streams|encoders|deploy|tests)(?:\.[A-Za-z_]\w*)+")
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
_IN_MODULE = re.compile(r"`([A-Za-z_]\w*)` in `([\w./]+\.py)`")
_OF_MODULE = re.compile(r"`([\w./]+\.py)` \(([^()]*)\)")
_NAME = re.compile(r"`([A-Za-z_]\w*)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|href)=\"([^\"]+)\"")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_lines_are_short(page: Path) -> None:
    """A row of a table, a link or a piece of code that nothing can break may be longer."""
    lines = page.read_text(encoding="utf-8").splitlines()
    long = [(number, line) for number, line in enumerate(lines, 1) if len(line) > WIDTH]
    assert [(n, line) for n, line in long if not line.startswith("|") and not _UNBREAKABLE.fullmatch(line)] == []


@pytest.mark.parametrize("page", OF_TODAY, ids=[str(page.relative_to(ROOT)) for page in OF_TODAY])
def test_files_and_modules_it_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = {path.group().rstrip(".") for path in _PATH.finditer(text)}
    assert [path for path in sorted(paths) if not any(ROOT.glob(path.rstrip("/")))] == []
    names = {name.group() for name in _DOTTED.finditer(text) if not name.group().endswith(".md")}
    assert [name for name in sorted(names) if not exists(name)] == []


@pytest.mark.parametrize(("name", "least"), [("docs/architecture.md", 30), ("CONTRIBUTING.md", 1)])
def test_modules_hold_the_names_given_with_them(name: str, least: int) -> None:
    """`Name` in `module.py`, and `module.py` (`Name`, and what else its parentheses hold)."""
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    pairs = {(module, held) for held, module in _IN_MODULE.findall(text)}
    pairs |= {(module, held) for module, about in _OF_MODULE.findall(text) for held in _NAME.findall(about)}
    assert len(pairs) >= least
    assert [(module, held) for module, held in sorted(pairs) if not holds(ROOT / module, held)] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_and_anchors_resolve(page: Path) -> None:
    """Those to files of the repository; nothing is asked of the network."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for link in (one or other for one, other in _LINK.findall(text)):
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if "://" in link:
            continue
        if not file.is_relative_to(ROOT) or not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    docs = ROOT / "docs"
    seen, waiting = set(), [docs / "index.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = (one for one, _ in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in one)
        found = {(page.parent / link.partition("#")[0]).resolve() for link in links}
        waiting += [file for file in found - seen if file.suffix == ".md" and file.is_relative_to(docs)]
    assert {str(page) for page in docs.rglob("*.md")} - {str(page) for page in seen} == set()


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="the extra docs is not installed")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert built.returncode == 0, built.stderr
    pages = {str(file.relative_to(tmp_path / "site")) for file in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "security.html", "contributing.html", "changelog.html", "decisions/index.html"} <= pages
    elsewhere = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(?:https?:)?//")
    assert [name for name in sorted(pages) if elsewhere.search((tmp_path / "site" / name).read_text())] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings as GitHub makes them; a heading that comes again gets a number."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+?)\s*$", _FENCED.sub("", page.read_text(encoding="utf-8")), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
        seen[slug] += 1
    return found


def holds(module: Path, name: str) -> bool:
    """Whether a name stands in a module."""
    return re.search(rf"\b{name}\b", module.read_text(encoding="utf-8")) is not None


def exists(dotted: str) -> bool:
    """Whether a dotted name is a package, a module, or a name at the top of one; nothing is imported."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        module = next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
        if module is not None:
            rest = parts[length:]
            return not rest or rest[0] in names_of(module)
        if place.is_dir():
            return length == len(parts)
    return False


def names_of(module: Path) -> set[str]:
    """What a module defines or imports at its top level."""
    return {name for statement in ast.parse(module.read_text(encoding="utf-8")).body for name in bound(statement)}


def bound(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Import() | ast.ImportFrom():
            yield from (alias.asname or alias.name for alias in statement.names)
        case ast.Assign():
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
