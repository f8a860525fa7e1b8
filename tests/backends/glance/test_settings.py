import pytest
from imagesync_glance import open_backend
from imagesync_glance.settings import Project, Sharing, read_settings

from imagesync.backend import Context
from imagesync.errors import ConfigError

VO = "vo.example.org"
ENOUGH = {"cloud": "mysite", "projects": {VO: "3f1c"}}


class Hidden:
    def value(self):
        return "hunter2"


def problems(settings):
    with pytest.raises(ConfigError) as caught:
        open_backend(settings, Context("mysite", "imagesync"))
    assert "mysite" in str(caught.value)
    return "\n".join(caught.value.problems)


def test_a_cloud_and_a_project_are_enough():
    settings = read_settings(ENOUGH, "mysite")

    assert (settings.sharing, settings.homes) == (Sharing.PER_PROJECT, (Project(id="3f1c"),))
    assert (settings.request_timeout, settings.stall_timeout, settings.in_use) == (60.0, 60.0, "nova")


def test_projects_are_given_by_id_or_by_name_and_domain_alone_or_as_a_list():
    given = {"one": "1", "two": {"name": "b"}, "three": [{"id": "1"}, {"name": "c", "domain": "D", "cloud": "c2"}]}
    settings = read_settings({**ENOUGH, "projects": given}, "mysite")

    assert settings.projects["one"] == (Project(id="1"),)
    assert settings.projects["two"] == (Project(name="b", domain="Default"),)
    assert settings.homes == (Project(id="1"), Project(name="b"), Project(name="c", domain="D", cloud="c2"))


def test_a_shared_target_has_one_owner():
    settings = read_settings({**ENOUGH, "ownership": "shared", "owner": "0a"}, "mysite")

    assert (settings.sharing, settings.homes) == (Sharing.SHARED, (Project(id="0a"),))


@pytest.mark.parametrize("visibility", ["community", "public"])
def test_what_is_for_everybody_needs_an_owner_and_no_projects(visibility):
    settings = read_settings({"cloud": "mysite", "owner": {"name": "o"}, "visibility": visibility}, "mysite")

    assert (settings.sharing, settings.homes) == (Sharing(visibility), (Project(name="o"),))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("1h30m", 5400.0), (5, 5.0), ("0.5s", 0.5)])
def test_times_are_durations_or_seconds(text, seconds):
    assert read_settings({**ENOUGH, "stall_timeout": text}, "mysite").stall_timeout == seconds


@pytest.mark.parametrize("text", ["90", "fast", 0, -1, True, "0s", "1s2", float("inf"), ["1s"]])
def test_what_is_no_duration_is_refused(text):
    assert problems({**ENOUGH, "stall_timeout": text}).startswith("stall_timeout: ")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"projects": {}}, "projects: is missing: name for each VO the project that gets its images"),
        ({"projects": {VO: []}}, f"projects.{VO}: is empty: write at least one"),
        ({"projects": {VO: {"cloud": "x"}}}, f"projects.{VO}[0]: names no project: give either its id, or its name"),
        ({"projects": {VO: {"id": "1", "name": "a"}}}, f"projects.{VO}[0]: names no project"),
        ({"projects": {VO: {"id": "1", "domain": "D"}}}, f"projects.{VO}[0]: has an id and a domain"),
        ({"projects": {VO: 7}}, f"projects.{VO}[0]: must have options of its own"),
        ({"projects": {VO: {"idd": "1"}}}, f"projects.{VO}[0].idd: is an unknown key: did you mean id?"),
        ({"projects": VO}, "projects: must have options of its own"),
        ({"owner": "0a"}, "owner: is only for ownership shared"),
        ({"ownership": "shared"}, "owner: is missing"),
        ({"ownership": "mine"}, "ownership: mine is not known: write per-project or shared"),
        ({"visibility": "private", "owner": "0a"}, "visibility: private is not known: write community or public"),
        ({"visibility": "public", "owner": "0a"}, "projects: has no meaning with visibility public"),
        ({"visibility": "public", "owner": "0a", "ownership": "per-project"}, "visibility: public needs one owner"),
        ({"auth": {"auth_url": "https://k"}}, "auth: stands beside cloud: keep one of them"),
        ({"auth_type": "password"}, "auth_type: stands alone"),
        ({"proxy": "http://user:pw@proxy:3128"}, "proxy.url: must be an address"),
        ({"proxy": {"url": "http://proxy", "password": "pw"}}, "proxy.password: holds the secret itself"),
        ({"endpoint_override": "glance:9292"}, "endpoint_override: must be an address"),
        ({"endpoint_override": "https://user:pw@glance"}, "endpoint_override: must be an address"),
        ({"auth": {"auth_url": "https://user:pw@k/v3"}}, "auth.auth_url: is an address with user or password in it"),
        ({"coexist": "yes"}, "coexist: must be true or false"),
        ({"cloud": 7}, "cloud: must be text"),
        ({"cloud": ""}, "cloud: is empty"),
        ({"onwership": "shared"}, "onwership: is an unknown key: did you mean ownership?"),
        ({"qqqq": 1}, "qqqq: is an unknown key: known are auth, auth_type"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(change, problem):
    assert problem in problems({**ENOUGH, **change})


def test_every_problem_is_reported_at_once():
    found = problems({"onwership": 1, "in_use": "yes", "ownership": "shared", "stall_timeout": "soon"})

    assert len(found.splitlines()) == 5


@pytest.mark.parametrize("name", ["password", "application_credential_secret", "token", "access_token", "passcode"])
def test_a_secret_that_is_written_down_is_refused_and_not_repeated(name):
    inline = {"auth": {"auth_url": "https://k", name: "hunter2"}, "projects": {VO: "1"}}

    forms = "{file: PATH}, {env: NAME} or {credential: NAME}"
    assert problems(inline) == f"auth.{name}: holds the secret itself: write {forms}"


def test_a_secret_is_given_by_reference_and_addresses_are_none():
    auth = {"auth_url": "https://k", "client_secret": Hidden(), "access_token_endpoint": "https://o/token"}
    settings = read_settings({"auth": auth, "auth_type": "v3oidcclientcredentials", "projects": {VO: "1"}}, "mysite")

    assert settings.auth == auth
    assert "hunter2" not in repr(settings)


def test_the_names_of_libraries_are_not_imported_for_checking_settings(imported_by):
    code = (
        "from imagesync_glance import open_backend\n"
        "from imagesync.backend import Context\n"
        "open_backend({'cloud': 'x', 'projects': {'vo': '1'}}, Context('t', 'i'))\n"
    )

    assert not {"keystoneauth1", "openstack", "glanceclient", "requests"} & imported_by(code)
