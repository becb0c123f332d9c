"""Where our engine does not answer as the real extension, by choice. The tests hold that there is nothing else."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one recorded case: what the extension does, what our engine does, and why it was left so."""

    extension: str
    engine: str
    reason: str


DIFFERENCES: dict[str, Difference] = {
    "start_of_an_unknown_orchestrator": Difference(
        "fails it and lists the app's orchestrators in no order",
        "fails it with the same words and the list in the app's order",
        "the order of a .NET dictionary means nothing",
    ),
    "ten_starts_at_once": Difference(
        "accepts seven and starts one: between the look and the write others pass",
        "accepts one, refuses nine",
        "one writer, one SQLite file; how many pass depends on the storage's speed. The app takes both for one run",
    ),
    "activity_nobody": Difference(
        "recorded as still running after 12 s, because the case before had slowed the whole hub",
        "fails it at once, as the extension does when it is asked this alone (`activity_nobody_alone`)",
        "the recording is of the slowed hub",
    ),
    "entities_in_a_query": Difference(
        "lists entities where the prefix begins with @, with their scheduler's state as the custom status",
        "lists orchestrations only",
        "nothing asks for entities in this way",
    ),
}
