"""What a site runs out of: its quota, the room of its store, one of its places."""

import subprocess
from dataclasses import replace


def test_a_quota_that_ends_at_the_third_image_stops_no_other(try_site, cloud, add_glance):
    glance = add_glance("[DEFAULT]\nuser_storage_quota = 8MB\n")
    trial = try_site(cloud, glance.region)
    for title in ("one", "two", "three", "four"):
        trial.site.published.add(trial.site.disk(title, size=3 << 20), title=title)
    trial.site.offer("small")

    result = trial.site.publish_and_sync()

    errors = [one["error"] for one in result.actions if one["error"]]
    assert (result.code, len(errors)) == (1, 2)
    assert ("register", "small") in result.done()
    assert all("413" in error and "raise user_storage_quota in glance-api.conf" in error for error in errors)
    assert len(trial.states()) == len(trial.published()) == 3
    glance.start("")
    assert len(trial.assert_converged().done()) == 2


def test_a_store_that_is_full_is_named_and_keeps_what_it_has(small_disk, try_site, cloud, add_glance, tmp_path):
    place = small_disk(tmp_path / "store", "3m")
    glance = add_glance(f"[fast]\nfilesystem_store_datadir = {place}\n")
    trial = try_site(cloud, glance.region)
    trial.start("changes", "stays")
    trial.site.replace("changes", "next")
    trial.site.offer("comes")
    trial.site.published.publish()
    trial.watch()

    result = trial.site.sync()

    assert result.code == 1
    errors = [result.action(title)["error"] for title in ("changes", "comes")]
    assert all("Glance's store is full" in error for error in errors), errors
    assert trial.states() == [("changes", "active"), ("stays", "active")]
    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    assert len(trial.assert_converged().done()) == 2


def test_a_site_that_cannot_be_reached_harms_no_other(trial, proxied, cloud):
    """Of two others one has lost its Glance, and one its Keystone."""
    others = []
    for name, broken in (("no-glance", "glance"), ("no-keystone", "keystone")):
        project = cloud.project()
        glance, keystone = proxied(cloud.glance_url()), proxied(cloud.auth_url)
        entry = project.login().entry()
        trial.site.entries[name] = {**entry, "auth": {**entry["auth"], "auth_url": keystone.url}}
        target = {"cloud": name, "endpoint_override": glance.url, "projects": {trial.site.vo: project.id}}
        trial.site.more_targets.append({"name": name, **target})
        other = replace(trial, project=project, images=project.images(), glance=glance, keystone=keystone, foreign={})
        others.append((other, getattr(other, broken)))
    trial.site.configure()
    trial.start("changes", "stays", "swings")
    before = [other.records() for other, _ in others]
    trial.renew()
    for _, service in others:
        service.stop()

    result = trial.site.sync()

    here, *there = result.json["targets"]
    assert (result.code, here["outcome"], len(result.done())) == (1, "done", 3)
    for target in there:
        assert (target["outcome"], target["actions"]) == ("failed", [])
        assert "see whether the service runs and can be reached" in target["error"]
    assert [other.records() for other, _ in others] == before
    trial.assert_good()
    for _, service in others:
        service.start()
    assert len(trial.site.sync().done()) == 6
    for other, _ in others:
        other.assert_converged()
