"""A document of headings, paragraphs, tables, commands and lists, as Markdown or as one self-contained page. Pure.

The two say the same, because both come from the same blocks. Every text is escaped where it is written; a
picture is a drawing of ours and goes in as it is.
"""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881 }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem }
h1 { line-height: 1.2 } h2 { margin-top: 2.4rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; display: block; overflow-x: auto }
th, td { text-align: left; vertical-align: top; padding: .35rem .7rem; border-bottom: 1px solid var(--line) }
th { background: var(--soft) }
figure { margin: 1rem 0; overflow-x: auto } svg { max-width: 100%; height: auto }
code { font: .86em ui-monospace, monospace; overflow-wrap: anywhere }
pre { font: .86em/1.5 ui-monospace, monospace; background: var(--soft); padding: .7rem 1rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border-radius: 6px }
@media print { body { max-width: none; margin: 0 } h2 { break-after: avoid } }
""".strip()


def minute(at: datetime | str) -> str:
    """A time as documents tell it. `at`: in UTC; as text in ISO's form."""
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found.strftime("%Y-%m-%d %H:%M UTC")


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    commands: int | None = None
    """The column that holds what somebody types."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines for a shell."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing of ours; `words` say what it shows."""

    svg: str
    words: str


type Block = Paragraph | Table | Commands | Bullets | Picture


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    lead: str
    sections: tuple[Section, ...]


def to_markdown(document: Document) -> str:
    """CommonMark with tables."""
    parts = [f"# {document.title}", document.lead]
    for section in document.sections:
        parts += [f"## {section.title}", *(_markdown(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def to_html(document: Document) -> str:
    """One page that needs nothing from elsewhere."""
    title = html.escape(document.title)
    sections = "\n".join(
        f"<h2>{html.escape(section.title)}</h2>\n" + blocks_to_html(section.blocks) for section in document.sections
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = f"<h1>{title}</h1>\n<p>{html.escape(document.lead)}</p>\n{sections}"
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def blocks_to_html(blocks: Sequence[Block]) -> str:
    """For a page of somebody else's."""
    return "\n".join(_html(block) for block in blocks)


def _markdown(block: Block) -> str:
    match block:
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Picture(svg, words):
            return f"![{words}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
        case Commands(lines):
            return "\n".join(["```sh", *lines, "```"])
        case Table(head, rows, commands):
            typed = [[f"`{cell}`" if i == commands and cell else cell for i, cell in enumerate(row)] for row in rows]
            return "\n".join([_row(head), _row(["---"] * len(head)), *(_row(row) for row in typed)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def _html(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
        case Picture(svg, words):
            return f'<figure aria-label="{html.escape(words)}">{svg}</figure>'
        case Commands(lines):
            return "<pre>" + html.escape("\n".join(lines)) + "</pre>"
        case Table(head, rows, commands):
            titles = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
            cells = ("".join(_cell(cell, is_typed=i == commands) for i, cell in enumerate(row)) for row in rows)
            return f"<table><tr>{titles}</tr>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _cell(text: str, *, is_typed: bool) -> str:
    shown = html.escape(text)
    return f"<td><code>{shown}</code></td>" if is_typed and text else f"<td>{shown}</td>"
