import json

from shared.model.history_size import LISTED, condensed, condensed_store


def test_twenty_thousand_collections_fit_a_payload():
    collections = [{"name": f"file-{n}", "rows": n, "dimension": 384} for n in range(20_000)]
    store = condensed_store({"chroma": {"collections": collections, "rows": 7}})
    assert store["chroma"]["collection_count"] == 20_000
    assert store["chroma"]["widest_dimension"] == 384
    assert store["chroma"]["collections"][0]["rows"] == 19_999
    assert len(store["chroma"]["collections"]) == LISTED
    assert len(json.dumps(store)) < 100_000


def test_what_lists_no_collections_stays_as_it_is():
    assert condensed({"rows": 3, "collections": 5}) == {"rows": 3, "collections": 5}
    assert condensed_store({"problems": []}) == {"problems": []}
