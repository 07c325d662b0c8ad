"""Small JSON schemas of the custom resources that chart and examples use, made from what their operators publish.

    npm install --prefix FOLDER @kubernetes-models/keda@2.0.0 @kubernetes-models/prometheus-operator@6.0.0
    python -m deploy.kubernetes.crd_schemas --types FOLDER/node_modules --crd 040-Crd-kafka.yaml ...

KEDA and the Prometheus operator: from the TypeScript declarations of these packages, which are made from the operators'
own Go types. Strimzi: from its CustomResourceDefinitions. Names, types, choices and what is required are kept, down to
a bounded depth; descriptions are not.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # it ships no types

FOLDER: Final = Path(__file__).resolve().parent / "schemas"
KINDS: Final = {
    "@kubernetes-models/keda": ("keda.sh/v1alpha1", ("ScaledObject", "TriggerAuthentication")),
    "@kubernetes-models/prometheus-operator": (
        "monitoring.coreos.com/v1", ("PodMonitor", "ServiceMonitor", "PrometheusRule"),
    ),
}  # fmt: skip
_DEPTH: Final = 9
_KEPT_OF_CRDS: Final = (
    "type", "properties", "items", "additionalProperties", "required", "enum", "minimum", "maximum", "pattern", "anyOf",
)  # fmt: skip
#: What a definition of hundreds of fields is cut to.
_FIELDS: Final = {
    "Kafka": {
        "spec": {"kafka", "entityOperator"},
        "spec.kafka": {"version", "metadataVersion", "listeners", "config", "authorization", "rack"},
        "spec.entityOperator": {"topicOperator", "userOperator"},
    }
}
_WORDS: Final = re.compile(r'"[^"]*"|[A-Za-z_]\w*|\[key: string\]|[{}<>|;:?=]')
_PRIMITIVES: Final = {"string", "number", "boolean"}

Schema = dict[str, Any]


class Declarations:
    """The TypeScript declarations of a folder of packages, read as they are asked for."""

    def __init__(self, modules: Path) -> None:
        self._modules = modules

    def schema(self, file: Path, depth: int) -> Schema:
        """The schema of what a declaration file is named after. Anything below the bounded depth."""
        if depth < 0:
            return {}
        text = re.sub(r"/\*.*?\*/", "", file.read_text(encoding="utf-8"), flags=re.S)
        imports = self._imports(file, text)
        name = file.name.removesuffix(".d.ts")
        if found := re.search(rf"export interface I{name}(?: extends ([\w, ]+))? (\{{.*?^\}})", text, re.S | re.M):
            schema = _Types(self, imports, found[2], depth).one()
            for parent in filter(None, re.split(r",\s*", found[1] or "")):
                if parent != "TypeMeta":
                    schema = _joined(schema, self.schema(imports[parent], depth))
            return schema
        if found := re.search(rf"export type I{name} = (.*?);\n", text, re.S):
            return _Types(self, imports, found[1], depth).one()
        raise ValueError(f"{file}: found no type I{name}")

    def _imports(self, file: Path, text: str) -> dict[str, Path]:
        places = {}
        for names, place in re.findall(r'import \{ ([^}]+) \} from "([^"]+)"', text):
            near = file.parent / place if place.startswith(".") else self._modules / place
            for name in names.split(", "):
                places[name] = near.with_name(near.name.removesuffix(".js") + ".d.ts")
        return places


class _Types:
    """One type of TypeScript, read word by word."""

    def __init__(self, of: Declarations, imports: dict[str, Path], text: str, depth: int) -> None:
        self._of, self._imports, self._depth = of, imports, depth
        self._words: list[str] = _WORDS.findall(text)

    def one(self) -> Schema:
        """A type, or several parted by a bar: choices, or one that may be null too."""
        forms = [self._simple()]
        while self._words and self._words[0] == "|":
            self._words.pop(0)
            forms.append(self._simple())
        choices = [form["const"] for form in forms if "const" in form]
        if choices and len(choices) == len(forms):
            return {"enum": choices}
        return forms[0] if len(forms) == 1 else {"anyOf": forms}

    def _simple(self) -> Schema:
        word = self._words.pop(0)
        if word.startswith('"'):
            return {"const": word[1:-1]}
        if word == "null" or word in _PRIMITIVES:
            return {"type": word}
        if word == "Array":
            return {"type": "array", "items": self._bracketed()}
        if word == "{":
            return self._object()
        if word in self._imports:
            return self._of.schema(self._imports[word], self._depth - 1)
        return {}

    def _bracketed(self) -> Schema:
        self._words.pop(0)
        inner = self.one()
        self._words.pop(0)
        return inner

    def _object(self) -> Schema:
        fields: Schema = {}
        required = []
        while (word := self._words.pop(0)) != "}":
            if word == "[key: string]":
                self._words.pop(0)
                fields["*"] = self.one()
            else:
                name, optional = word.strip('"'), self._words[0] == "?"
                del self._words[: 1 + optional]
                fields[name] = self.one()
                required += [] if optional else [name]
            self._words.pop(0)
        if "*" in fields:
            return {"type": "object", "additionalProperties": fields["*"]}
        return {"type": "object", "additionalProperties": False, "properties": fields, "required": required}


def _joined(one: Schema, other: Schema) -> Schema:
    return {
        "type": "object", "additionalProperties": False,
        "properties": {**other["properties"], **one["properties"]}, "required": one["required"] + other["required"],
    }  # fmt: skip


def of_types(modules: Path) -> Iterator[tuple[str, Schema]]:
    """The kind and the schema of each of `KINDS`."""
    declarations = Declarations(modules)
    for package, (group, kinds) in KINDS.items():
        version = json.loads((modules / package / "package.json").read_text(encoding="utf-8"))["version"]
        for kind in kinds:
            schema = declarations.schema(modules / package / group / f"{kind}.d.ts", _DEPTH)
            schema["properties"].pop("status", None)
            yield kind, _tidied({"$comment": f"types of {group} in {package} {version} (npm)", **schema})


def of_crd(file: Path, source: str) -> tuple[str, Schema]:
    """The kind and the schema of a CustomResourceDefinition, of the version that is stored."""
    spec = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
    kind = spec["names"]["kind"]
    version = next(one for one in spec["versions"] if one["storage"])
    schema = _crd_schema(version["schema"]["openAPIV3Schema"], kind, "")
    schema["properties"]["apiVersion"] = {"const": f"{spec['group']}/{version['name']}"}
    schema["properties"]["kind"] = {"const": kind}
    schema["properties"].pop("status", None)
    return kind, _tidied({"$comment": source, **schema})


def _crd_schema(given: Schema, kind: str, path: str) -> Schema:
    kept: Schema = {key: given[key] for key in _KEPT_OF_CRDS if key in given}
    if "properties" in kept:
        wanted = _FIELDS.get(kind, {}).get(path)
        kept["properties"] = {
            name: _crd_schema(field, kind, f"{path}.{name}".lstrip("."))
            for name, field in kept["properties"].items()
            if wanted is None or name in wanted
        }
        kept["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = _crd_schema(kept[key], kind, f"{path}[]")
    return kept


def _tidied(schema: Schema) -> Schema:
    """Without `required` of nothing."""
    tidied = {key: _tidied(value) if isinstance(value, dict) else value for key, value in schema.items()}
    if tidied.get("required") == []:
        del tidied["required"]
    return tidied


def main() -> None:
    """Write the schemas of what is given."""
    parser = argparse.ArgumentParser(prog="python -m deploy.kubernetes.crd_schemas", description=__doc__)
    parser.add_argument("--types", type=Path, metavar="NODE_MODULES", help="a folder with the packages of `KINDS`")
    parser.add_argument("--crd", type=Path, nargs="*", default=[], help="CustomResourceDefinitions of Strimzi")
    parser.add_argument("--source", default="CustomResourceDefinitions of Strimzi", help="where these are from")
    asked = parser.parse_args()
    made = list(of_types(asked.types)) if asked.types else []
    made += [of_crd(file, asked.source) for file in asked.crd]
    FOLDER.mkdir(exist_ok=True)
    for kind, schema in made:
        file = FOLDER / f"{kind}.json"
        file.write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        sys.stdout.write(f"{file.name}: {file.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
