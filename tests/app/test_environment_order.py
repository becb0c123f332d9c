"""Where our variables go among the user's, and that every reference expands as the kubelet expands it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.kubernetes.kubelet.environment import resolve
from shared.errors import ConfigurationError
from shared.kubernetes.environment_order import arranged, references, replacing, unexpanded, with_references


def value(name, text=""):
    return {"name": name, "value": text}


def secret(name):
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "k"}}}


def names(entries):
    return [entry["name"] for entry in entries]


def as_kubelet(env, sources=None):
    """What the container sees, by the local kubelet, which is held to the real one's expansion."""

    async def read(kind, name):
        return {key: text.encode() for key, text in ({"k": "secret"} | (sources or {})).items()}

    container = {"env": env} | ({"envFrom": [{"secretRef": {"name": "all"}}]} if sources else {})
    return asyncio.run(resolve(container, {"metadata": {}}, read))


@pytest.mark.parametrize(
    ("text", "found"),
    [("$(A)", ["A"]), ("x$(A)y$(B)", ["A", "B"]), ("$$(A)", []), ("$$$(A)", ["A"]), ("$A ${A} $()", []), ("", [])],
)
def test_references_are_read_as_the_kubelet_reads_them(text, found):
    assert references(value("X", text)) == found


def test_a_new_reference_comes_after_what_it_refers_to():
    found = arranged([secret("DATABASE_URL"), value("A", "1")], [value("PGVECTOR_DB_URL", "$(DATABASE_URL)")])
    assert names(found) == ["DATABASE_URL", "A", "PGVECTOR_DB_URL"]


def test_a_users_early_entry_that_we_override_moves_behind_what_it_now_refers_to():
    found = arranged(
        [value("PGVECTOR_DB_URL", "postgresql://other"), value("A", "1"), secret("DATABASE_URL")],
        [value("PGVECTOR_DB_URL", "$(DATABASE_URL)")],
    )
    assert names(found) == ["A", "DATABASE_URL", "PGVECTOR_DB_URL"]


def test_what_refers_to_an_entry_that_moves_moves_with_it():
    found = arranged([value("P", "old"), value("USES", "$(P)"), value("D", "d")], [value("P", "$(D)")])
    assert as_kubelet(found) == {"D": "d", "P": "d", "USES": "d"}


def test_a_users_reference_to_a_later_entry_stays_unexpanded_as_it_was():
    current = [value("EARLY", "$(LATE)"), value("LATE", "x")]
    assert as_kubelet(arranged(current, [value("NEW", "$(EARLY)")]))["EARLY"] == "$(LATE)"


def test_a_new_variable_does_not_give_a_users_text_another_meaning():
    found = arranged([value("NOTE", "set $(REDIS_URL)")], [value("REDIS_URL", "redis://r")])
    assert as_kubelet(found)["NOTE"] == "set $(REDIS_URL)"


def test_what_the_user_wrote_twice_stays_twice_unless_it_is_ours():
    current = [value("A", "1"), value("V", "x"), value("A", "2"), value("V", "y")]
    assert [(e["name"], e["value"]) for e in arranged(current, [value("V", "z")])] == [
        ("A", "1"), ("V", "z"), ("A", "2"),
    ]  # fmt: skip


def test_an_override_replaces_the_source_too():
    assert arranged([secret("V")], [value("V", "z")]) == [value("V", "z")]


def test_removed_names_go():
    assert names(arranged([value("A"), value("B"), value("A")], [], removed=["A"])) == ["B"]


def test_two_that_refer_to_each_other_are_refused_by_name():
    with pytest.raises(ConfigurationError, match="A, B"):
        arranged([], [value("A", "$(B)"), value("B", "$(A)")])


def test_the_patch_says_the_whole_list():
    assert replacing([value("A", "1")], [value("B", "2")]) == [{"$patch": "replace"}, value("A", "1"), value("B", "2")]


def test_what_is_not_expanded_is_told_by_name_and_reference():
    env = [value("A", "$(B)"), value("B", "$(C)"), value("D", "$(B)")]
    assert unexpanded(env, ()) == {("A", "B"), ("B", "C")}
    assert unexpanded(env, ("C",)) == {("A", "B")}


def test_a_job_gets_what_its_variables_refer_to_in_the_same_order():
    env = [secret("PW"), value("X"), value("HOST", "h"), value("DATABASE_URL", "postgresql://u:$(PW)@$(HOST)/d")]
    assert names(with_references(env, ("PGVECTOR_DB_URL", "DATABASE_URL"))) == ["PW", "HOST", "DATABASE_URL"]


NAMES = st.sampled_from([*"ABCDE"])
ENTRIES = st.lists(st.builds(value, NAMES, st.lists(NAMES, max_size=2).map(lambda n: "".join(f"$({x})" for x in n))))
OURS = st.dictionaries(st.sampled_from([*"EFGH"]), st.sampled_from(["", "$(A)", "$(B)-$(E)", "$(F)"]), max_size=3)


@given(ENTRIES, OURS, st.booleans())
def test_whatever_the_order_ours_expand_and_the_users_stay_as_they_were(current, ours, by_env_from):
    wanted = [value(name, text) for name, text in ours.items()]
    sources = {"B": "from"} if by_env_from else None
    try:
        found = arranged(current, wanted)
    except ConfigurationError:
        return
    known = {*names(found), *(sources or ())}
    lost = {(n, r) for n, r in unexpanded(found, sources or ()) if n in ours and r in known and r != n}
    assert lost == set()
    assert sorted(names(found)) == sorted([*(n for n in names(current) if n not in ours), *ours])
    touched = set(ours)
    while more := {e["name"] for e in current if touched & set(references(e))} - touched:
        touched |= more
    seen, was = as_kubelet(found, sources), as_kubelet(current, sources)
    assert {n: seen[n] for n in was if n not in touched} == {n: was[n] for n in was if n not in touched}
