"""Bicep files as data: declarations, bodies, and which names stand for what, read from the syntax tree.

The compiler is a program of 120 MB that not everybody has (`SCALEOUT_BICEP` names it: test_infra_compiler.py). So the
grammar of tree-sitter reads the text, and this module makes values of it. What the grammar or this reader does not
know is refused with its line (`NotUnderstood`), so that no check passes over what it did not see.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

PARSER = Parser(Language(tree_sitter_bicep.language()))
DECLARATIONS = {
    "parameter_declaration": "parameters",
    "variable_declaration": "variables",
    "resource_declaration": "resources",
    "module_declaration": "modules",
    "output_declaration": "outputs",
    "type_declaration": "types",
}
TYPES = {"type", "primitive_type"}
BESIDE = {"target_scope_assignment", "decorators", "diagnostic_comment", "comment", "metadata_declaration"}
COMPUTED = {
    *("identifier", "member_expression", "subscript_expression", "binary_expression", "unary_expression"),
    *("call_expression", "resource_expression"),
}
LEFT_OUT = {"lambda_expression", "user_defined_function", "import_functionality", "assert_statement", "using_statement"}
"""What the grammar knows and this reader does not."""
# Source: learn.microsoft.com/azure/azure-resource-manager/bicep/data-types, escapes of single-line strings
ESCAPE = re.compile(r"\\(u\{([0-9a-fA-F]+)\}|.)")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class NotUnderstood(ValueError):
    """Text that the grammar or this reader does not know."""


@dataclass(frozen=True)
class Computed:
    """A value that only a deployment knows. `branches`: what it may come to, as far as the text tells."""

    text: str
    node: Node
    branches: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Declaration:
    """One named declaration. `body`: its value; of a resource or module the object inside loops and conditions."""

    kind: str
    name: str
    line: int
    node: Node
    body: Any = None
    target: str = ""
    """Of a module its path, of a resource its whole type."""
    api_version: str = ""
    existing: bool = False
    type_text: str = ""
    decorators: tuple[str, ...] = ()
    valued: bool = True
    """Of a parameter: whether it has a default."""


@dataclass(frozen=True)
class BicepFile:
    path: str
    text: str

    @cached_property
    def root(self) -> Node:
        root = PARSER.parse(self.text.encode()).root_node
        for node in walk(root):
            if node.is_error or node.is_missing:
                raise self.refusal(node, "syntax")
            if node.type in LEFT_OUT:
                raise self.refusal(node, node.type)
        return root

    @cached_property
    def declarations(self) -> tuple[Declaration, ...]:
        return tuple(self._declarations())

    def of(self, kind: str) -> dict[str, Declaration]:
        """`kind`: parameters, variables, resources, modules, outputs or types."""
        return {d.name: d for d in self.declarations if d.kind == kind}

    @property
    def created(self) -> dict[str, Declaration]:
        """The resources that are made; the others are only referred to."""
        return {name: d for name, d in self.of("resources").items() if not d.existing}

    def refusal(self, node: Node, why: str) -> NotUnderstood:
        text = self._slice(node).partition("\n")[0][:60]
        return NotUnderstood(f"{self.path}:{node.start_point.row + 1}: not understood ({why}): {text}")

    def value(self, node: Node) -> Any:
        """The plain value of an expression; Computed where the text alone does not say."""
        match node.type:
            case "string":
                return self._string(node)
            case "number":
                return int(self._slice(node))
            case "boolean":
                return self._slice(node) == "true"
            case "null":
                return None
            case "array":
                return [self._item(group) for group in self._items(node)]
            case "object":
                return self._object(node)
            case "parenthesized_expression":
                return self.value(node.named_children[0])
            case "for_statement":  # one item stands for all
                return [self.value(node.named_children[-1])]
            case "ternary_expression":
                _, yes, no = node.named_children
                return Computed(self._slice(node), node, (self.value(yes), self.value(no)))
            case "call_expression" if self._slice(node.named_children[0]) == "union":
                parts = tuple(self.value(child) for child in node.named_children[1].named_children)
                return Computed(self._slice(node), node, parts)
            case kind if kind in COMPUTED:
                return Computed(self._slice(node), node)
        raise self.refusal(node, node.type)

    def _items(self, array: Node) -> list[list[Node]]:
        """The nodes of each item: the grammar takes a call in an array, `f().x`, for two."""
        groups: list[list[Node]] = []
        for child in array.named_children:
            if child.type in BESIDE:
                continue
            gap = self.text.encode()[groups[-1][-1].end_byte : child.start_byte] if groups else b"\n"
            if gap == b"" and is_call(groups[-1][-1], child):
                groups[-1].append(child)
            elif b"\n" in gap or b"," in gap:
                groups.append([child])
            else:
                raise self.refusal(child, "no comma before it")
        return groups

    def _item(self, nodes: list[Node]) -> Any:
        if len(nodes) == 1:
            return self.value(nodes[0])
        return Computed("".join(self._slice(node) for node in nodes), nodes[0])

    def _slice(self, node: Node) -> str:
        return (node.text or b"").decode()

    def _string(self, node: Node) -> Any:
        if any(child.type == "interpolation" for child in node.named_children):
            return Computed(self._slice(node), node)
        text = self._slice(node)
        if text.startswith("'''"):
            return text[3:-3].removeprefix("\n")
        if "\n" in text:
            raise self.refusal(node, "a line ends inside a string")
        return ESCAPE.sub(lambda m: chr(int(m[2], 16)) if m[2] else ESCAPES.get(m[1], m[1]), text[1:-1])

    def _object(self, node: Node) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for child in node.named_children:
            if child.type in BESIDE:
                continue
            if child.type != "object_property":
                raise self.refusal(child, child.type)
            if child.named_children[0].type == "resource_declaration":
                continue  # a child resource: a declaration of its own
            key, value = child.named_children[0], child.named_children[-1]
            name = self._string(key) if key.type == "string" else self._slice(key)
            found[name.text if isinstance(name, Computed) else name] = self.value(value)
        return found

    def _declarations(self) -> Iterator[Declaration]:
        waiting: tuple[str, ...] = ()
        for node in self.root.named_children:
            if node.type == "decorators":
                waiting = tuple(self._slice(child).removeprefix("@") for child in node.named_children)
            elif node.type in DECLARATIONS:
                yield from self._declaration(node, waiting)
                waiting = ()
            elif node.type not in BESIDE:
                raise self.refusal(node, node.type)

    def _declaration(self, node: Node, decorators: tuple[str, ...], parent: str = "") -> Iterator[Declaration]:
        kind, (name, *rest) = DECLARATIONS[node.type], node.named_children
        line = node.start_point.row + 1
        if kind in {"resources", "modules"}:
            target, _, version = str(self.value(rest[0])).partition("@")
            target = f"{parent}/{target}" if parent else target
            existing = any(child.type == "existing" for child in node.children)
            body = self._inner(rest[-1])
            yield Declaration(
                kind,
                self._slice(name),
                line,
                node,
                self._object(body),
                target,
                version,
                existing,
                decorators=decorators,
            )
            yield from self._children(body, target)
            return
        written = next((self._slice(child) for child in rest if child.type in TYPES), "")
        values = [child for child in rest if child.type not in TYPES]
        value = self.value(values[-1]) if values and kind != "types" else None
        yield Declaration(
            kind, self._slice(name), line, node, value, type_text=written, decorators=decorators, valued=bool(values)
        )

    def _children(self, body: Node, parent: str) -> Iterator[Declaration]:
        """The resources that are declared inside another's body."""
        for inner in body.named_children:
            if inner.type == "object_property" and inner.named_children[0].type == "resource_declaration":
                yield from self._declaration(inner.named_children[0], (), parent)

    def _inner(self, node: Node) -> Node:
        """The object inside loops and conditions."""
        while node.type in {"for_statement", "if_statement"}:
            node = node.named_children[-1]
        if node.type != "object":
            raise self.refusal(node, node.type)
        return node


def is_call(name: Node, after: Node) -> bool:
    """Whether these two neighbours are one call: a name, and right behind it a parenthesis."""
    return name.type == "identifier" and name.end_byte == after.start_byte and (after.text or b"").startswith(b"(")


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def module_path(file: str, target: str) -> str:
    """A module's path from the root, as the file that calls it names it."""
    parts: list[str] = []
    for part in (PurePosixPath(file).parent / target).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)
