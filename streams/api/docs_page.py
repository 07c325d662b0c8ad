"""The page `/docs`: the OpenAPI document as one plain page; no script, and nothing from another host."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {"Content-Security-Policy": _POLICY}
_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 0 auto; padding: 1rem }
article { border-top: 1px solid #8886; margin-top: 2rem }
code, pre { font: 0.85rem/1.45 ui-monospace, monospace }
pre { overflow-x: auto; padding: 0.6rem; background: #8881; border-radius: 4px }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { text-align: left; vertical-align: top; padding: 0.2rem 0.8rem 0.2rem 0 }
h3 code { font-size: 1rem }
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """The whole page of an OpenAPI document."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{escape(info['title'])}: the API</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{escape(info['title'])}: the API</h1>", *_paragraphs(info.get("description", "")),
        "<p>The document itself: <a href='openapi.json'>openapi.json</a>.",
        "The pages: <a href='ui/'>ui</a>, <a href='dashboard'>dashboard</a>.</p>",
        "<nav><ul>", *(_entry(*row) for row in _operations(document)), "</ul></nav>",
        *("".join(_article(document, *row)) for row in _operations(document)), "</main></body></html>",
    ]  # fmt: skip
    return "\n".join(parts)


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _entry(method: str, path: str, operation: Mapping[str, Any]) -> str:
    link = f"<a href='#{_anchor(method, path)}'>{method} {escape(path)}</a>"
    return f"<li>{link} {escape(operation.get('summary', ''))}</li>"


def _anchor(method: str, path: str) -> str:
    return escape(f"{method.lower()}{path}".replace("/", "-").replace("{", "").replace("}", ""))


def _article(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<article id='{_anchor(method, path)}'><h2>{escape(operation.get('summary', path))}</h2>"
    yield f"<h3><code>{method} {escape(path)}</code></h3>"
    yield from _paragraphs(operation.get("description", ""))
    if operation.get("parameters"):
        yield "<table><tr><th>parameter</th><th>in</th><th>values</th><th>what it is</th></tr>"
        for parameter in operation["parameters"]:
            name, about = escape(parameter["name"]), escape(parameter.get("description", ""))
            yield _row(f"<code>{name}</code>", escape(parameter["in"]), _accepted(parameter["schema"]), about)
        yield "</table>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        for example in content.get("examples", {}).values():
            yield f"<p>Body ({escape(kind)}): {escape(example['summary'])}</p>{_json(example['value'])}"
    yield "<table><tr><th>status</th><th>when</th></tr>"
    for status, response in operation["responses"].items():
        yield _row(escape(status), escape(response.get("description", "")))
    yield "</table>"
    for status, response in operation["responses"].items():
        for content in response.get("content", {}).values():
            if "example" in content:
                yield f"<p>{escape(status)}:</p>{_json(content['example'])}"
    yield "</article>"


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _accepted(schema: Mapping[str, Any]) -> str:
    """What values a parameter may have, in short."""
    choices = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    words = [_choice(choice) for choice in choices]
    if "default" in schema:
        words.append(f"default {json.dumps(schema['default'])}")
    return escape(", ".join(words))


def _choice(schema: Mapping[str, Any]) -> str:
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "maxLength": "length ≤"}
    words = [str(schema.get("type", ""))] + [
        f"{sign} {schema[name]:g}" for name, sign in bounds.items() if name in schema
    ]
    choices = schema.get("enum") or schema.get("items", {}).get("enum")
    return " ".join([*words, *([" | ".join(map(str, choices))] if choices else [])])


def _json(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"


def _paragraphs(text: str) -> list[str]:
    return [f"<p>{escape(part.strip())}</p>" for part in text.split("\n\n") if part.strip()]
