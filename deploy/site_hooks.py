"""The site has pages whose files lie outside docs/: one source each, with links that fit both places."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
#: Files of the repository's root by their name in the site.
OUTSIDE = {
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "LICENSE.txt",
}
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the root; MkDocs reads them where they are."""
    for name, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    uri = page.file.src_uri
    here = next((name for name, site in OUTSIDE.items() if site == uri), f"docs/{uri}")
    return _LINK.sub(lambda link: "".join(_in_site(link, here, uri)), markdown)


def _in_site(link: re.Match[str], here: str, uri: str) -> tuple[str, ...]:
    """The link as it stands in the site, for a page that lies at `here` in the repository and at `uri` in the site."""
    before, target, anchor, after = link.groups(default="")
    if "://" not in target:
        file = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        target = posixpath.relpath(OUTSIDE.get(file, file.removeprefix("docs/")), posixpath.dirname(uri) or ".")
    return before, target, anchor, after
