"""What cloudkeeper's and atrope's files say, in our words; each result is loaded as the configuration that it becomes."""

import json
from pathlib import Path

import pytest
import yaml
from imagesync_glance.settings import Sharing, read_settings

from imagesync.config.load import load
from imagesync.config.predecessors.atrope import read_atrope
from imagesync.config.predecessors.cloudkeeper import read_cloudkeeper
from imagesync.config.predecessors.finds import UNCONFIRMED, Found
from imagesync.config.schema import Config
from imagesync.errors import ConfigError

ID = "3f1c5d1e7a6b4c0f9a51c0ffee123456"
OTHER = "bb02bda767b4490a82b2f62f9347a0f5"
APPDB = "https://vmcaster.appdb.example.org/store/vo"
BACKEND = """\
[DEFAULT]
image_visibility = private

[keystone_authtoken]
username = cloudkeeper
password = "pa$$word"
user_domain_name = People
project_domain_name = Projects
auth_url = https://keystone.example.org/v3
"""
ATROPE = """\
[DEFAULT]
state_path = /var/lib/atrope
[dispatchers]
dispatcher = glance
prefix = EGI{0}
[glance]
auth_type = password
auth_url = https://keystone.example.org/v3
username = atrope
password = hidden
user_domain_name = Default
project_name = images
project_domain_name = Federation
"""
ENDORSER = {"dn": "/DC=EU/CN=appdb.example.org", "ca": "/DC=ORG/CN=A CA"}


class Site:
    """The directories of a host, as they were before imagesync."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, content: object) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def cloudkeeper(self, *, lists: object = f"{APPDB}/vo.one/image.list", backend: str = BACKEND, **more) -> Found:
        options = {key.replace("_", "-"): value for key, value in more.items()}
        self.write("cloudkeeper/cloudkeeper.yml", {"cloudkeeper": {"image-lists": lists, **options}})
        if backend:
            self.write("cloudkeeper-os/cloudkeeper-os.conf", backend)
        return read_cloudkeeper(self.root / "cloudkeeper", self.root / "secrets", coexist=False)

    def mapping(self, **projects: object) -> None:
        self.write("cloudkeeper-os/mapping.json", {name.replace("_", "."): value for name, value in projects.items()})

    def atrope(self, sources: object, conf: str = ATROPE) -> Found:
        self.write("atrope/hepix.yaml", sources)
        return read_atrope(self.write("atrope/atrope.conf", conf), self.root / "secrets", coexist=False)

    def loaded(self, found: Found) -> Config:
        """Return the configuration that the find becomes, once its secrets are in their files."""
        for secret in found.secrets:
            self.write(f"secrets/{secret.file.name}", secret.value).chmod(0o600)
        main = self.write(
            "imagesync.yaml", yaml.safe_dump({"state": "sqlite:////x/s.db", "cache": "/x", **found.content})
        )
        config = load(main, {})
        for target in config.targets:
            read_settings(target.settings, target.name)
        return config


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def remarks(found: Found) -> str:
    return "\n".join(found.remarks)


# --- cloudkeeper -----------------------------------------------------------------------------------------------------
def test_a_list_of_cloudkeeper_becomes_a_subscription_that_is_switched_off_until_its_signer_is_known(site):
    site.mapping(vo_one={"tenant": "one"})
    found = site.cloudkeeper()

    (subscription,) = site.loaded(found).subscriptions
    assert (subscription.name, subscription.vo) == ("vo.one", "vo.one")
    assert subscription.url == f"{APPDB}/vo.one/image.list"
    assert not subscription.enabled
    assert [item.dn for item in subscription.endorsers] == [UNCONFIRMED]
    assert "did not say who may sign it: replace endorsers" in remarks(found)


def test_a_token_in_a_url_gets_a_file_of_its_own(site):
    site.mapping(vo_one={"tenant": "one"})
    url = f"{APPDB}/vo.one/image.list".replace("https://", "https://s3cr3t%2F:x-oauth-basic@")
    found = site.cloudkeeper(lists=[url])

    (subscription,) = site.loaded(found).subscriptions
    assert subscription.token is not None
    assert subscription.token.value() == "s3cr3t/"
    assert "s3cr3t" not in str(found.content) + remarks(found) + repr(found.secrets)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://s3cr3t:x-oauth-basic@lists.example.org/store/vo/vo.one/image.list", "tokens are sent over https only"),
        ("https://jane:s3cr3t@lists.example.org/store/vo/vo.one/image.list", "only a token can be given"),
    ],
)
def test_what_is_no_token_for_us_is_dropped_and_said(site, url, why):
    site.mapping(vo_one={"tenant": "one"})
    found = site.cloudkeeper(lists=[url])

    assert site.loaded(found).subscriptions[0].token is None
    assert why in remarks(found)
    assert "s3cr3t" not in str(found.content) + remarks(found)


def test_the_lists_may_stand_in_a_file_with_comments(site):
    site.write("cloudkeeper/lists.conf", f"# ours\r\n\r\n{APPDB}/vo.one/image.list\r\n{APPDB}/vo.two/image.list\n")
    site.mapping(vo_one={"project": "one"}, vo_two={"project": ID})
    found = site.cloudkeeper(lists=None, image_lists_file="/etc/cloudkeeper/lists.conf")

    assert [item.vo for item in site.loaded(found).subscriptions] == ["vo.one", "vo.two"]


def test_a_list_that_does_not_say_its_vo_is_left_out_and_said(site):
    site.mapping(vo_one={"project": "one"}, vo_two={"project": "two"})
    found = site.cloudkeeper(lists=["https://lists.example.org/image.list"])

    assert "subscriptions" not in found.content
    assert "https://lists.example.org/image.list: does not say which VO it is for" in remarks(found)


def test_the_only_vo_of_the_site_is_taken_for_a_list_that_does_not_say_one(site):
    site.mapping(vo_one={"project": "one"})
    found = site.cloudkeeper(lists=["https://lists.example.org/image.list"])

    assert site.loaded(found).subscriptions[0].vo == "vo.one"


def test_the_login_and_the_projects_of_the_backend_become_a_target(site):
    site.mapping(vo_one={"tenant": "one"}, vo_two={"project": ID}, vo_three={"project": "three", "domain": "Third"})
    found = site.cloudkeeper(formats=["qcow2", "raw"])

    (target,) = site.loaded(found).targets
    settings = read_settings(target.settings, "openstack")
    assert {vo: str(where[0]) for vo, where in settings.projects.items()} == {
        "vo.one": "project one in domain Projects",
        "vo.two": f"project {ID}",
        "vo.three": "project three in domain Third",
    }
    assert settings.auth is not None
    assert settings.auth["username"] == "cloudkeeper"
    assert settings.auth["password"].value() == "pa$word"
    assert settings.sharing is Sharing.PER_PROJECT
    assert [str(item) for item in target.formats] == ["qcow2", "raw"]
    assert "pa$word" not in str(found.content)


def test_a_vo_without_a_project_is_not_followed_by_the_target_and_said(site):
    site.mapping(vo_one={"tenant": "one"})
    found = site.cloudkeeper(lists=[f"{APPDB}/vo.one/image.list", f"{APPDB}/vo.two/image.list"])

    assert site.loaded(found).targets[0].subscriptions == ("vo.one",)
    assert "has no project for VO vo.two" in remarks(found)


def test_version_2_of_the_backend_has_one_project_for_everything(site):
    backend = """\
[appliances]
visibility = community
[openstack]
identity-endpoint = https://keystone.example.org/v3
auth-type = v3password
username = ck
password = hidden
user-domain-name = Default
project-name = images
project-domain-name = Federation
region-name = RegionOne
glance-interface = internal
"""
    found = site.cloudkeeper(lists=None, image_list=f"{APPDB}/vo.one/image.list", backend=backend)

    settings = read_settings(site.loaded(found).targets[0].settings, "openstack")
    assert settings.sharing is Sharing.COMMUNITY
    assert str(settings.owner) == "project images in domain Federation"
    assert (settings.region_name, settings.interface, settings.auth_type) == ("RegionOne", "internal", "v3password")
    assert not [line for line in found.remarks if "cloudkeeper-os.conf" in line]


def test_openid_secrets_get_files_too(site):
    backend = """\
[openstack]
identity-endpoint = https://keystone.example.org/v3
auth-type = v3oidcaccesstoken
oidc-access-token = hidden
oidc-identity-provider = egi.eu
oidc-protocol = openid
project-name = images
"""
    found = site.cloudkeeper(backend=backend)

    auth = read_settings(site.loaded(found).targets[0].settings, "openstack").auth
    assert auth is not None
    assert (auth["identity_provider"], auth["protocol"], auth["access_token"].value()) == ("egi.eu", "openid", "hidden")
    assert "hidden" not in str(found.content)


def test_other_trust_anchors_count_for_signatures_and_for_the_servers(site):
    site.mapping(vo_one={"tenant": "one"})
    config = site.loaded(site.cloudkeeper(ca_dir="/srv/anchors"))

    assert config.trust.anchors == Path("/srv/anchors")
    assert (config.subscriptions[0].ca_bundle, config.subscriptions[0].system_store) == (Path("/srv/anchors"), True)


def test_what_has_no_counterpart_is_said_and_defaults_are_not(site):
    site.mapping(vo_one={"tenant": "one"})
    usual = site.cloudkeeper(debug=False, authentication=False, image_dir="/var/spool/cloudkeeper/images/")
    other = site.cloudkeeper(
        remote_mode=True, verify_image_list=False, formats=["ova"], external_tools={"execution-timeout": 9000}
    )

    assert len(usual.remarks) == 1
    for part in ("remote-mode: is not carried over", "signatures are always verified", "ova is no format", "9000"):
        assert part in remarks(other) or part == "9000"
    assert "execution-timeout: is not carried over" in remarks(other)


def test_without_the_backend_there_is_no_target_and_that_is_said(site):
    found = site.cloudkeeper(backend="")

    assert "targets" not in found.content
    assert "has no cloudkeeper-os.conf" in remarks(found)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("cloudkeeper/cloudkeeper.yml", "image-list: x", "has no section cloudkeeper"),
        ("cloudkeeper/cloudkeeper.yml", "a: [", "cloudkeeper.yml"),
        ("cloudkeeper-os/cloudkeeper-os.conf", "username = x", "oslo.config"),
        ("cloudkeeper-os/mapping.json", "{", "is no JSON"),
        ("cloudkeeper-os/mapping.json", "[]", "is no JSON object"),
    ],
)
def test_a_file_that_makes_no_sense_is_named(site, name, text, complaint):
    site.mapping(vo_one={"tenant": "one"})
    site.cloudkeeper()
    site.write(name, text)

    with pytest.raises(ConfigError, match=complaint) as refusal:
        read_cloudkeeper(site.root / "cloudkeeper", site.root / "secrets", coexist=False)
    assert Path(name).name in str(refusal.value)


# --- atrope ----------------------------------------------------------------------------------------------------------
def test_a_source_of_atrope_keeps_its_signer_its_selection_and_its_token(site):
    source = {
        "url": f"{APPDB}/vo.one/image.list",
        "endorser": ENDORSER,
        "token": "s3cr3t",
        "images": ["662b0e71-3e21-5f43-b6a1-cc2f51319fa7"],
        "prefix": "VO ",
        "project": OTHER,
    }
    found = site.atrope({"some list": source})

    config = site.loaded(found)
    (subscription,) = config.subscriptions
    assert (subscription.name, subscription.vo, subscription.enabled) == ("some-list", "vo.one", True)
    assert [(item.dn, item.ca) for item in subscription.endorsers] == [(ENDORSER["dn"], ENDORSER["ca"])]
    assert subscription.token is not None
    assert subscription.token.value() == "s3cr3t"
    assert subscription.select.include_rules() == ((("identifier", "662b0e71-3e21-5f43-b6a1-cc2f51319fa7"),),)
    assert config.targets[0].image_name == "EGI{{0}}VO {title}"
    assert "s3cr3t" not in str(found.content) + remarks(found)


def test_the_project_of_a_source_becomes_a_member_of_the_login_s_project(site):
    found = site.atrope({"vo.one": {"url": "https://x.org/l", "endorser": ENDORSER, "project": OTHER}})

    settings = read_settings(site.loaded(found).targets[0].settings, "openstack")
    assert settings.sharing is Sharing.SHARED
    assert str(settings.owner) == "project images in domain Federation"
    assert [str(item) for item in settings.projects["vo.one"]] == [f"project {OTHER}"]


def test_without_any_project_images_are_public_as_atrope_makes_them_and_that_is_said(site):
    found = site.atrope({"vo.one": {"url": "https://x.org/l", "endorser": ENDORSER}})

    assert read_settings(site.loaded(found).targets[0].settings, "openstack").sharing is Sharing.PUBLIC
    assert "images are public" in remarks(found)


def test_a_source_without_a_project_beside_others_is_not_followed_by_the_target(site):
    one = {"url": "https://x.org/l", "endorser": ENDORSER}
    found = site.atrope({"vo.one": {**one, "project": OTHER}, "vo.two": {**one, "prefix": "Two "}})

    assert site.loaded(found).targets[0].subscriptions == ("vo.one",)
    assert "vo.two: has no project" in remarks(found)
    assert "prefix: differs by list" in remarks(found)


def test_a_source_that_is_switched_off_stays_so_and_one_without_an_endorser_is_switched_off(site):
    off = {"url": "https://x.org/l", "endorser": ENDORSER, "enabled": False, "project": ID}
    found = site.atrope({"vo.one": off, "vo.two": {"url": "https://x.org/m", "project": ID}})

    assert [item.enabled for item in site.loaded(found).subscriptions] == [False, False]
    assert "vo.two.endorser: does not say who may sign it" in remarks(found)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"enabled": False}, "has no url"),
        ({"url": "https://x.org/l", "endorser": ENDORSER}, "does not say which VO it is for"),
        ({"type": "harbor", "project": "images"}, "is of type harbor"),
    ],
)
def test_a_source_that_cannot_be_followed_is_left_out_and_said(site, source, why):
    found = site.atrope({"foo": source})

    assert "subscriptions" not in found.content
    assert f"foo: {why}" in remarks(found)


def test_the_version_of_egi_has_a_map_of_vos_and_a_login_for_each_project(site):
    conf = f"""\
[dispatchers]
dispatcher = glance
[glance]
project_id = {ID}
formats = raw,qcow2
vo_map = /elsewhere/vo-map.yaml
[glance_{ID}]
auth_type = v3applicationcredential
auth_url = https://keystone.example.org/v3
application_credential_id = abc
application_credential_secret = hidden
[glance_{OTHER}]
auth_type = v3applicationcredential
auth_url = https://keystone.example.org/v3
application_credential_id = def
application_credential_secret = hidden as well
[sources]
image_sources = /elsewhere/sources.yaml
"""
    site.write("atrope/vo-map.yaml", {"vo.one": {"project_id": OTHER}})
    site.write(
        "atrope/sources.yaml",
        {
            "harbor": {"auth_password": "x"},
            "list": {"url": "https://x.org/l", "endorser": ENDORSER, "vos": ["vo.one"]},
        },
    )
    found = site.atrope({}, conf)

    (target,) = site.loaded(found).targets
    settings = read_settings(target.settings, "openstack")
    assert settings.sharing is Sharing.SHARED
    assert (str(settings.owner), str(settings.projects["vo.one"][0])) == (f"project {ID}", f"project {OTHER}")
    assert [str(item) for item in target.formats] == ["raw", "qcow2"]
    assert f"[glance_{OTHER}]: logs in as somebody else" in remarks(found)
    assert "hidden" not in str(found.content) + remarks(found)


def test_the_version_of_egi_keeps_images_of_no_vo_in_its_own_project(site):
    conf = ATROPE + "[sources]\nimage_sources = hepix.yaml\n"
    found = site.atrope({"vo.one": {"url": "https://x.org/l", "endorser": ENDORSER}}, conf)

    settings = read_settings(site.loaded(found).targets[0].settings, "openstack")
    assert settings.sharing is Sharing.PER_PROJECT
    assert str(settings.projects["vo.one"][0]) == "project images in domain Federation"


def test_atrope_without_glance_has_no_target(site):
    found = site.atrope({}, "[dispatchers]\ndispatcher = noop\n")

    assert "targets" not in found.content
    assert "does not send images to glance" in remarks(found)


def test_unchecked_certificates_and_unknown_options_are_not_carried_over(site):
    source = {"vo.one": {"url": "https://x.org/l", "endorser": ENDORSER, "project": ID}}
    found = site.atrope(source, ATROPE + "insecure = true\ntimeout = 3\n")

    assert "[glance] insecure: certificates are always checked" in remarks(found)
    assert "[glance] timeout: is not carried over" in remarks(found)


def test_a_missing_file_of_atrope_is_named(site):
    conf = site.write("atrope/atrope.conf", ATROPE + "[sources]\nhepix_sources = /elsewhere/none.yaml\n")

    with pytest.raises(ConfigError, match=r"none\.yaml"):
        read_atrope(conf, site.root, coexist=False)
