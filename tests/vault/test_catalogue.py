"""Providers come from files, and a wrong file says what is wrong."""

from pathlib import Path

import pytest

from solver.vault import Catalogue, Sharing, load_catalogue
from solver.vault.catalogue import parse_provider
from solver.vault.fault import CatalogueFault
from solver.vault.template import Verdict
from tests.vault.fixture import PROVIDER, a_provider

LOCAL = {"datasette": "http://127.0.0.1:8001", "openai-compatible": "http://localhost:8000"}


def test_the_shipped_files_load() -> None:
    """Templates are left out until the operator gives them an address."""
    names = [provider.name for provider in load_catalogue().providers()]
    assert names == ["openai", "serper", "tavily"]
    placed = load_catalogue(overrides=LOCAL, private_networks=LOCAL)
    assert {*LOCAL, *names} == {provider.name for provider in placed.providers()}
    datasette = placed.provider("datasette")
    assert datasette is not None
    assert datasette.host == "127.0.0.1:8001"
    assert placed.resource("datasette/search:call") == (datasette, datasette.resources[0])


def test_the_shipped_files_are_careful() -> None:
    """None opens the private network, and no third-party key may be shared."""
    for provider in load_catalogue().providers():
        assert not provider.private_network
        assert provider.base_url.startswith("https://")
        assert provider.sharing in (Sharing.FORBIDDEN, Sharing.UNKNOWN)


def test_an_operator_s_file_replaces_a_shipped_one(tmp_path: Path) -> None:
    """By the name inside, whatever the file is called."""
    text = PROVIDER.replace("BASE", "https://echo.example").replace("private_network = true", "")
    (tmp_path / "mine.toml").write_text(text.replace("echo", "tavily"))
    (tmp_path / "notes.txt").write_text("not a provider")
    catalogue = load_catalogue(tmp_path)
    provider = catalogue.provider("tavily")
    assert provider is not None
    assert provider.title == "Echo"
    assert catalogue.resource("tavily/search:call") is not None


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('title = "Echo"', "", "title"),
        ('title = "Echo"', 'title = "Echo"\nextra = 1', "extra"),
        ('name = "echo"', 'name = "Echo!"', "name"),
        ('sharing = "allowed"', 'sharing = "sure"', "sharing"),
        ('format = "Bearer {key}"', 'format = "Bearer"', "key.format"),
        ('header = "authorization", ', "", "key: give either"),
        ('header = "authorization"', 'header = "cookie"', "key.header"),
        ('header = "authorization"', 'query = "k"', "key.format"),
        ("ok = [200]", "ok = [401]", "probe"),
        ("ok = [200]", 'ok = ["200"]', "probe.ok"),
        ('["x-echo"]', '["set-cookie"]', "set-cookie"),
        ('["x-echo-mode"]', '["transfer-encoding"]', "transfer-encoding"),
        ("units = 10,", "units = 0,", "limit"),
        ("units = 10,", 'units = "10",', "limit[0].units"),
        ('name = "echo/search:call"', 'name = "other/search:call"', "resource[0].name"),
        ('name = "echo/search:call"', 'name = "echo/search:token"', "resource[0].name"),
        ('{ rule = "per_call" }', '{ rule = "usage_tokens" }', "resource[0].metering"),
        ('{ rule = "per_call" }', '{ rule = "per_moon" }', "metering"),
        ('name = "echo/chat:token"', 'name = "echo/search:call"', "resource"),
        ('path = "/search/{index}.json"', 'path = "search"', "path"),
        ('path = "/search/{index}.json"', 'path = "/a/%2e"', "path"),
        ('path = "/search/{index}.json", q', 'path = "/s", require = { a = "b" }, q', "require"),
        ("idle_ms = 60_000", "idle_ms = 0", "timeouts.idle_ms"),
        ("[[resource]]", "[[resource", "Expected"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_field(old: str, new: str, field: str) -> None:
    """The fault names the file and what is wrong in it."""
    assert old in PROVIDER
    with pytest.raises(CatalogueFault) as caught:
        parse_provider(PROVIDER.replace(old, new, 1), "echo.toml")
    assert str(caught.value).startswith("echo.toml: ")
    assert field in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.example",
        "https://api.example/v1",
        "https://api.example?x=1",
        "https://user:pass@api.example",
        "https://api.example#",
        "https://API.example",
        "https://api.example:0",
        "https://api.example:65536",
        "https://api..example",
        "https://-api.example",
        "https://127.0.0.1",
        "https://10.1.2.3",
        "https://169.254.169.254",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]",
        "https://127.1",
        "https://2130706433",
        "https://0x7f000001",
        "https://0x7f.1",
        "https://0177.0.0.1",
        "https://①②⑦.0.0.1",
        "https://evil。example",
        "ftp://api.example",
        "//api.example",
        "https://",
    ],
)
def test_an_address_that_could_leak_a_key_is_refused(base_url: str) -> None:
    """No plain http, no path, no credentials, no private or disguised address."""
    with pytest.raises(CatalogueFault, match="base_url"):
        load_catalogue(overrides={"datasette": base_url})


@pytest.mark.parametrize("base_url", ["http://169.254.169.254", "http://0.0.0.0", "http://127.1"])
def test_even_the_private_network_has_limits(base_url: str) -> None:
    """Metadata services and disguised addresses are nobody's upstream."""
    with pytest.raises(CatalogueFault, match="base_url"):
        load_catalogue(overrides={"datasette": base_url}, private_networks=["datasette"])


def test_a_setting_for_a_provider_without_a_file_is_refused() -> None:
    """A typing error in the configuration does not pass silently."""
    with pytest.raises(CatalogueFault, match="datasete"):
        load_catalogue(overrides={"datasete": "https://api.example"})


def test_an_unreadable_file_is_a_fault(tmp_path: Path) -> None:
    """Not text, or far too large."""
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CatalogueFault, match=r"a\.toml"):
        load_catalogue(tmp_path)
    (tmp_path / "a.toml").write_bytes(b"#" * 300_000)
    with pytest.raises(CatalogueFault, match="larger"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED),
        (204, Verdict.DELIVERED),
        (301, Verdict.FAILED),
        (304, Verdict.FAILED),
        (101, Verdict.FAILED),
        (999, Verdict.FAILED),
        (400, Verdict.FAILED),
        (401, Verdict.REFUSED),
        (403, Verdict.REFUSED),
        (408, Verdict.UNKNOWN),
        (429, Verdict.LIMITED),
        (500, Verdict.FAILED),
        (504, Verdict.UNKNOWN),
    ],
)
def test_what_a_status_means(status: int, verdict: Verdict) -> None:
    """An exact status goes before its class, and what nobody listed failed."""
    assert a_provider().verdict(status) is verdict


def test_a_catalogue_does_not_change() -> None:
    """Nothing at run time can move a provider."""
    provider = a_provider()
    with pytest.raises(AttributeError):
        provider.base_url = "https://evil.example"  # type: ignore[misc]
    assert Catalogue({"echo": provider}).provider("other") is None
