"""The handbook of an installation, read as an operator would."""

import re
from html.parser import HTMLParser

import pytest
from fix_record import MEASURED, OCCASION, TARGET, finished

from api.handbooks import migration_before, wrote_one
from api.runs import Run
from shared.alerting.alert_rules import alerts
from shared.rendering.documents import Bullets, Commands, Document, Paragraph, Section, Table, to_html, to_markdown
from shared.report.handbook import for_later_phases, handbook, share_iops


def text(record=None):
    return to_markdown(handbook(record or finished(), OCCASION))


class Tags(HTMLParser):
    """Sees whether every tag is closed, and what a page fetches from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in {"src", "href"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_says_what_was_done_how_long_and_how_long_nobody_was_served():
    found = text()
    assert "2,619 chunks in 29 collections" in found
    assert "away for 6.9 s" in found
    assert "9 min 0 s in all" in found
    assert "| cut_over | done | 7.8 s |" in found


def test_phases_that_nobody_asked_for_are_not_told():
    assert "| write_handbook |" not in text(finished(measured=None))


def test_all_nine_criteria_stand_with_their_evidence():
    found = text()
    assert found.count("| met | seen") == 9


def test_the_limits_are_those_that_were_read():
    found = text()
    for figure in (
        "35 of max_connections 50",
        "3.0 of 1,024.0 GiB",
        "914 MiB memory, 120 m CPU",
        "4,024 sustained, 10,000",
    ):
        assert figure in found


def test_the_next_wall_is_named_with_its_figure():
    small = text()
    assert "35 are for users, which carries 3 replicas" in small
    assert "Standard_B2s (Burstable) | 414 |" in small
    assert "kubectl scale" not in small  # 3 serve and 3 fit: there is nowhere to go
    large = text(finished(sku="Standard_D4ds_v5", measured=None))
    assert re.search(r"carry \d\d replicas; the next wall is the 20", large)


def test_after_the_server_has_grown_the_figures_are_the_new_ones():
    grown = MEASURED | {
        "server": MEASURED["server"] | {"sku": "Standard_B2s", "max_connections": 429, "for_users": 414}
    }
    found = text(finished(measured=grown))
    assert "carry 72 replicas; the next wall is the 20" in found  # (414 - 41 - 3) // 5 - 2
    assert "Standard_B1ms has 35" not in found
    assert "of 35 for users" not in found


def test_the_way_back_is_this_runs_and_ends_when_it_ends():
    found = text(finished(soak_seconds=7200))
    assert "https://app/api/migrations/aks-0001/rollback" in found
    assert "Until 2026-05-04 22:09 UTC" in found
    assert "backup/vector_db-ab.tar.gz" in found
    assert "SHA-256 cf2b" in found


def test_commands_carry_this_clusters_names():
    found = text()
    for command in (
        "kubectl describe hpa open-webui -n ollama",
        "--resource-group rg --server-name psql-main --name max_connections --query value",
        "kubectl describe pods -n ollama -l app=open-webui",
        "update --resource-group rg --name psql-main --tier Burstable --sku-name Standard_B2s",
        "--name max_connections --value 429",
        'https://app/api/migrations -d \'{"mode": "phases", "phases": ["enable_autoscaling"]}\'',
    ):
        assert command in found


def test_nobody_is_told_to_undo_a_rollout_into_the_old_store():
    assert "rollout undo" not in text()
    assert "Never undo it to a revision from before the migration" in text()


def test_chunks_that_were_left_out_are_accounted_for():
    record = finished()
    record["report"]["store"]["chroma"]["collections"] = [
        {"name": "a", "rows": 2616, "kind": "knowledge"},
        {"name": "web-search-1", "rows": 3, "kind": "web-search"},
        {"name": "web-search-2", "rows": 4, "kind": "web-search"},
    ]
    assert "| left in the old store | – | 7 chunks of 2 throw-away collections of web searches |" in text(record)
    assert "left in the old store" not in text()


def test_what_was_found_in_the_data_is_told():
    record = finished()
    nul = {"code": "nul", "severity": "note", "message": "3 rows contain NUL", "hint": "Copied without it."}
    record["report"]["problems"].append(nul)
    assert "| note | 3 rows contain NUL | Copied without it. |" in text(record)


def test_the_snapshot_of_the_disk_is_named():
    record = finished()
    snapshot = {"name": "x-disk-before", "taken_at": "2026-05-04T20:00:10Z"}
    record["report"]["results"]["protect_source"] = {"snapshot": snapshot}
    assert "VolumeSnapshot x-disk-before holds the disk as it was at 2026-05-04 20:00 UTC" in text(record)


def test_a_file_system_that_is_not_the_shares_alone_is_not_called_its_size():
    here = MEASURED | {"share": MEASURED["share"] | {"size": "100Gi"}}
    found = text(finished(measured=here))
    assert "lies on a file system of 1,024.0 GiB that it does not have to itself" in found
    assert "3.0 of 1,024.0 GiB" not in found


def test_costs_say_whose_prices_they_are():
    assert "From the runbook's prices" in text()
    own = text(finished(disk_price_per_gib=1.0, files_price_per_gib=2.0))
    assert "| storage a month | $10.00 | $210.00 | $200.00 |" in own
    assert "the prices in this run's options" in own


def test_the_alerts_stand_with_what_to_type_when_they_were_installed():
    assert "OpenWebUIDown" not in text()
    record = finished()
    record["report"]["results"]["install_monitoring"] = {"rules": 9, "objects": []}
    found = text(record)
    for alert in alerts(TARGET):
        assert f"| {alert.name} | {alert.severity} | {alert.minutes} min |" in found
    assert "{{" not in found
    assert "`kubectl describe pod POD -n ollama`" in found


def test_the_nodes_are_the_wall_after_the_connections():
    nodes = {"count": 2, "memory_bytes": 28 * 2**30, "cores": 7.6}
    found = text(finished(measured=MEASURED | {"nodes": nodes}))
    assert "| 2 nodes | 28.0 GiB memory and 7.6 cores for all pods |" in found
    assert "every further replica requests 1Gi memory and 500m cpu; the nodes have 28.0 GiB and 7.6 cores" in found
    assert "Nodes:" not in text()


@pytest.mark.parametrize("measured", [MEASURED, None, {"at": MEASURED["at"], "unread": {"memory": "no metrics"}}])
def test_nothing_is_a_placeholder_and_nothing_unread_is_guessed(measured):
    record = finished(measured=measured)
    for written in (text(record), to_html(handbook(record, OCCASION))):
        assert not re.search(r"\bNone\b|\bTODO\b|\bTBD\b|<[a-z]+ id>|\{\}|\bnan\b", written)
    if measured is not MEASURED:
        assert "memory |" not in text(record)
        assert "of max_connections" not in text(record)
    if measured and measured["unread"]:
        assert "memory could not be read: no metrics" in text(record)


def test_the_page_is_whole_escaped_and_fetches_nothing():
    record = finished()
    record["report"]["changes"][0]["detail"] = "<script>alert(1)</script>"
    page = to_html(handbook(record, OCCASION))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.fetched == []
    assert "<script>" not in page


def test_markdown_and_page_say_the_same():
    blocks = (Paragraph("a & b"), Table(("x",), (("1 | 2",),)), Commands(("ls -l",)), Bullets(("one",)))
    document = Document("T", "lead", (Section("S", blocks),))
    markdown, page = to_markdown(document), to_html(document)
    assert "| 1 \\| 2 |" in markdown
    for shown in ("a &amp; b", "1 | 2", "ls -l", "<li>one</li>"):
        assert shown in page


def test_later_phases_are_told_with_the_migration_that_they_were_added_to():
    later = finished(measured=None)
    later["report"]["results"] = {
        "write_handbook": MEASURED | {"autoscaler": {"minimum": 3, "maximum": 3, "because": "room"}}
    }
    later["report"]["changes"] = [
        {
            "phase": "enable_autoscaling",
            "action": "create",
            "kind": "HorizontalPodAutoscaler",
            "name": "x",
            "detail": "",
        }
    ]
    merged = for_later_phases(later, finished(measured=None))
    found = text(merged)
    assert "3 to 3 replicas: room" in found
    assert "HorizontalPodAutoscaler x" in found
    assert "2,619 chunks" in found


def test_warnings_stand_with_what_to_do_and_notes_of_the_plan_do_not():
    found = text()
    assert "| warning | WEBUI_SECRET_KEY is not set | Sign in once more. |" in found
    assert "expected downtime" not in found


def test_a_share_has_azures_operations():
    assert share_iops("1Ti") == (4024, 10_000)
    assert share_iops("100Gi") == (3100, 10_000)
    assert share_iops("100Ti") == (102_400, 102_400)
    assert share_iops("") is None


def test_only_a_run_that_was_asked_for_one_has_a_handbook():
    assert wrote_one(finished()["report"])
    assert not wrote_one(finished(measured=None)["report"])
    assert not wrote_one(None)


def test_later_phases_belong_to_the_newest_migration_before_them():
    def run(id_, state):
        return Run(id_, "COMPLETED", "", "", {}, {"state": state})

    known = [
        run("k-0004", "applied"),
        run("k-0003", "migrated"),
        run("k-0002", "rolled_back"),
        run("k-0001", "migrated"),
    ]
    assert migration_before(known, run("k-0004", "applied")).id == "k-0003"
    assert migration_before(known[1:], run("k-0003", "applied")).id == "k-0001"


def test_what_failed_after_the_validation_is_told_until_a_later_run_has_done_it():
    record = finished()
    setback = {"phase": "load_test", "message": "bug: KeyError: 'x'", "hint": "Run it again."}
    record["report"]["setbacks"] = [setback]
    assert "| failed | load_test: bug: KeyError: 'x' | Run it again. |" in text(record)
    later = finished()
    later["report"]["results"] = {"load_test": {"verdict": "passed"}}
    assert for_later_phases(later, record)["report"]["setbacks"] == []
    later["report"]["results"] = {"load_test": {"skipped": True}}
    assert for_later_phases(later, record)["report"]["setbacks"] == [setback]
