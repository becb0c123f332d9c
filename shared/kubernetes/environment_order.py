"""The order of a container's variables. Pure.

A kubelet expands `$(NAME)` from the entries before it and from `envFrom`, never from an entry after it: a reference
that comes too early stays as it is written, and Open WebUI crashes on it. A strategic merge patch leaves the place of a
new entry to the API server, which puts it before the old ones. So a phase that changes variables says the whole list.

Source: Kubernetes 1.36.2, pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables) and
third_party/forked/golang/expansion/expand.go; recorded answers of its API server (`smp-env-*`).
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush

from shared.errors import ConfigurationError
from shared.model.ports import Manifest

_REFERENCE = re.compile(r"\$(?:\$|\(([^()\s]*)\))")


def references(entry: Manifest) -> list[str]:
    """The names that this entry's value refers to as `$(NAME)`; `$$(NAME)` is text."""
    return [name for name in _REFERENCE.findall(str(entry.get("value") or "")) if name]


def expanded(text: str, known: Mapping[str, str]) -> str:
    """The text with `$(NAME)` replaced where the name is known; `$$` is an escaped `$`."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else known.get(found[1] or "", found[0])

    return _REFERENCE.sub(value, text)


def replacing(current: Sequence[Manifest], wanted: Sequence[Manifest], removed: Collection[str] = ()) -> list[Manifest]:
    """The `env` of a strategic merge patch that leaves exactly `arranged(…)`, in that order."""
    return [{"$patch": "replace"}, *arranged(current, wanted, removed)]


def arranged(current: Sequence[Manifest], wanted: Sequence[Manifest], removed: Collection[str] = ()) -> list[Manifest]:
    """The container's entries with `wanted` in place of those of the same names and new ones at the end.

    An entry of ours moves behind what it refers to. The user's own entries keep their order wherever one refers to
    another, and so expand to what they did. Raises ConfigurationError where no order does all of that.
    """
    entries = _replaced(current, {str(entry["name"]): entry for entry in wanted}, removed)
    sorter = TopologicalSorter(_predecessors(entries, {str(entry["name"]) for entry in wanted}))
    try:
        sorter.prepare()
    except CycleError as error:
        names = sorted({str(entries[i]["name"]) for i in error.args[1]})
        raise ConfigurationError(
            f"no order of the variables {', '.join(names)} expands all their references",
            hint="Write the values of these variables without $(NAME), then plan again.",
        ) from error
    free: list[int] = []
    order: list[Manifest] = []
    while sorter.is_active():
        for index in sorter.get_ready():
            heappush(free, index)
        first = heappop(free)
        order.append(entries[first])
        sorter.done(first)
    return order


def unexpanded(env: Sequence[Manifest], sources: Collection[str]) -> set[tuple[str, str]]:
    """Pairs of a variable and a name that it refers to and that the kubelet does not know at that place.

    `sources`: the names that come by `envFrom`.
    """
    known, missing = set(sources), set()
    for entry in env:
        missing |= {(str(entry["name"]), name) for name in references(entry) if name not in known}
        known.add(str(entry["name"]))
    return missing


def with_references(env: Sequence[Manifest], names: Iterable[str]) -> list[Manifest]:
    """The entries of these names and all that they refer to, in the container's order: for a Job of its own."""
    wanted = set(names)
    for entry in reversed(env):  # a reference that counts points to an earlier entry
        if entry["name"] in wanted:
            wanted |= set(references(entry))
    return [entry for entry in env if entry["name"] in wanted]


def _replaced(current: Sequence[Manifest], ours: dict[str, Manifest], removed: Collection[str]) -> list[Manifest]:
    """Ours stand where the first of the user's of that name stood; what the user wrote twice otherwise stays twice."""
    entries: list[Manifest] = []
    done: set[str] = set()
    for entry in current:
        name = str(entry["name"])
        if name in removed or name in done:
            continue
        if name in ours:
            done.add(name)
        entries.append(ours.get(name, entry))
    return [*entries, *(entry for name, entry in ours.items() if name not in done)]


def _predecessors(entries: Sequence[Manifest], ours: Collection[str]) -> dict[int, set[int]]:
    """Index → the indices that must come before it."""
    places: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        places.setdefault(str(entry["name"]), []).append(index)
    before: dict[int, set[int]] = {index: set() for index in range(len(entries))}
    for index, entry in enumerate(entries):
        for other in (place for name in references(entry) for place in places.get(name, ()) if place != index):
            if other < index or entry["name"] in ours:
                before[index].add(other)
            else:
                before[other].add(index)
    return before
