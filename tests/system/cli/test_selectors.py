"""``--list``, ``--target`` and ``--image``: nothing outside is touched. And the guard with its word for one run."""

import pytest


@pytest.fixture
def changed(synced):
    """Return a site with a second target and, in both lists, one image less, one more and one other."""
    for name, published in (("shaky", synced.shaky), ("steady", synced.steady)):
        one, two = published.images
        published.replace(one, synced.image(f"{name} again"))
        published.withdraw(two)
        published.add(synced.image(f"{name}-3"), title=f"{name}-3")
        published.publish()
    second = {"name": "second", "backend": "directory", "path": str(synced.root / "second"), "formats": ["raw"]}
    synced.targets.append(second)
    synced.configure()
    return synced


def changes_of(name):
    return [("register", f"{name}-3"), ("replace", f"{name}-1"), ("retire", f"{name}-2")]


def test_a_list_selector_leaves_the_other_list_alone(changed):
    before = changed.held(changed.shaky)
    asked = len(changed.shaky.server.requests)

    result = changed.sync("--list", "steady", "--target", "site")

    assert (result.code, result.done()) == (0, changes_of("steady"))
    assert changed.held(changed.shaky) == before
    assert len(changed.shaky.server.requests) == asked
    assert [item["name"] for item in result.json["lists"]] == ["steady"]


def test_a_target_selector_leaves_the_other_target_alone(changed):
    before = changed.held(None)

    result = changed.sync("--target", "second")

    assert (result.code, [target["name"] for target in result.json["targets"]]) == (0, ["second"])
    assert changed.titles(target="second") == ["shaky-1", "shaky-3", "steady-1", "steady-3"]
    assert changed.held(None) == before


@pytest.mark.parametrize("glob", ["SHAKY-3", "*y-3", "identifier"])
def test_an_image_selector_leaves_other_images_alone(changed, glob):
    identifiers = {image.title: key for key, image in changed.shaky.images.items()}
    before = {one["name"]: one for one in changed.entries()}
    wanted = [("register", title) for title in ("shaky-3", "steady-3")[: 2 if glob == "*y-3" else 1]]

    result = changed.sync("--target", "site", "--image", identifiers["shaky-3"] if glob == "identifier" else glob)

    assert (result.code, result.done()) == (0, wanted)
    after = {one["name"]: one for one in changed.entries()}
    assert {name: after[name] for name in before} == before


def test_selectors_of_one_kind_add_up(changed):
    result = changed.sync(
        "--list", "steady", "--list", "shaky", "--image", "*-2", "--image", "shaky-1", "--target", "site"
    )

    expected = [("replace", "shaky-1"), ("retire", "shaky-2"), ("retire", "steady-2")]
    assert (result.code, result.done()) == (0, expected)


def test_what_a_selector_left_out_is_done_by_the_next_pass(changed):
    assert changed.given("sync", "--json", "--image", "steady-*").code == 0

    result = changed.sync("--target", "site")

    assert (result.code, result.done()) == (0, changes_of("shaky"))


@pytest.mark.parametrize("option", ["--list", "--target"])
@pytest.mark.parametrize("command", ["sync", "plan", "status"])
def test_a_name_that_is_not_configured_is_a_usage_error(provider, command, option):
    result = provider.given(command, option, "stedy")

    assert (result.code, result.out) == (2, "")
    assert "there is no 'stedy' in the configuration" in result.err
    assert not (provider.root / "site").exists()


def test_the_plan_takes_the_same_selectors(changed):
    result = changed.run("plan", "--json", "--list", "steady", "--target", "site", "--image", "*-3")

    assert result.code == 0
    assert [(one["kind"], one["title"]) for one in result.target()["actions"]] == [("register", "steady-3")]


# --- the guard ---
@pytest.fixture
def emptied(synced):
    """Return a site one of whose lists withdrew everything."""
    synced.shaky.images.clear()
    synced.shaky.publish()
    return synced


def test_the_guard_holds_removals_back_and_everything_else_is_done(emptied):
    result = emptied.fails_alone()

    assert (result.code, result.list("shaky")["verdict"]) == (4, "trusted")
    held = result.action("shaky-1")
    assert (held["kind"], held["outcome"], held["cause"]) == ("hold", "held", "guard")
    assert "--allow-removals 2" in held["reason"]


def test_the_operators_word_lets_removals_pass_up_to_that_number(emptied):
    assert emptied.given("sync", "--json", "--allow-removals", "1").code == 4
    assert len(emptied.titles()) == 4

    result = emptied.sync("--allow-removals", "2")

    assert (result.code, result.done()) == (0, [("retire", "shaky-1"), ("retire", "shaky-2")])
    assert emptied.titles() == ["steady-1", "steady-2"]


def test_the_word_is_for_one_run_only(emptied):
    emptied.given("sync", "--json", "--allow-removals", "2")
    emptied.steady.images.clear()
    emptied.steady.publish()

    assert emptied.sync().code == 4
    assert emptied.titles() == ["steady-1", "steady-2"]


def test_a_refused_list_weighs_more_than_the_guard(emptied):
    emptied.steady.publish(signer=emptied.trust.stranger)

    assert emptied.sync().code == 3
