import os


def stored(provider):
    return provider.given("store", "ls", "--json").json


def test_the_cache_is_listed_with_what_is_evicted_first_at_the_top(synced):
    rows = stored(synced)

    assert len(rows) == 4
    assert all(row["name"].startswith("sources/") and row["size"] == 1280 << 10 for row in rows)
    assert [row["used"] for row in rows] == sorted(row["used"] for row in rows)
    assert "4 entries, " in synced.given("store", "ls").out


def test_a_whole_cache_is_found_whole_and_its_order_stays(synced):
    before = stored(synced)

    result = synced.given("store", "verify", "--json")

    assert (result.code, result.json["damaged"], len(result.json["whole"])) == (0, [], 4)
    assert stored(synced) == before


def test_bytes_that_rotted_are_found_removed_and_fetched_again(synced):
    rotten = stored(synced)[0]
    path = synced.root / "cache" / rotten["name"]
    status = path.stat()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(b"\xff" * 16)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    result = synced.given("store", "verify")

    assert result.code == 1
    assert f"damaged and removed: {rotten['name']}\n3 entries are whole\n" in result.out
    assert not path.exists()
    assert synced.given("store", "verify").code == 0


def test_pruning_removes_what_is_over_the_cap_only(synced):
    assert synced.given("store", "prune").out == "0 entries removed\n"
    for linked in (synced.root / "site").rglob("*.raw"):  # what a target has a link to takes no room of the cache's
        linked.unlink()
    synced.configure(cache_max_bytes=2 * (1280 << 10))

    result = synced.given("store", "prune", "--json")

    assert result.code == 0
    assert len(result.json["removed"]) + len(stored(synced)) == 4
    assert result.json["removed"]
