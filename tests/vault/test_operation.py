"""Only what an operation covers goes out, and exactly what was checked."""

from importlib import resources

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.reject import Reject, RejectCode
from solver.vault.catalogue import parse_provider
from solver.vault.operation import CallRequest, Plan, plan_call
from solver.vault.template import KeyPlace, Provider
from tests.vault.fixture import a_chat, a_provider, a_search

DATASETTE = parse_provider(
    (resources.files("solver.vault") / "provider" / "datasette.toml").read_text(), "datasette.toml"
)


def planned(request: CallRequest, provider: Provider | None = None, left: int = 10**6) -> Plan:
    """The plan of a request that must pass."""
    plan = plan_for(request, provider, left)
    assert isinstance(plan, Plan), plan
    return plan


def plan_for(
    request: CallRequest, provider: Provider | None = None, left: int = 10**6
) -> Plan | Reject:
    """What becomes of a request under the first resource that covers its path."""
    provider = provider or a_provider()
    index = 1 if "chat" in request.path else 0
    return plan_call(provider, provider.resources[index], request, left)


def refused(request: CallRequest, provider: Provider | None = None) -> Reject:
    """The refusal of a request that must not pass."""
    refusal = plan_for(request, provider)
    assert isinstance(refusal, Reject), refusal
    return refusal


@pytest.mark.parametrize(
    "path",
    [
        "/search",
        "/search/",
        "/search/.json",
        "/search/a/b.json",
        "/search/../probe.json",
        "/search/..json/..",
        "/search/%2e%2e/probe.json",
        "/search/%2Fprobe.json",
        "/search/a%00.json",
        "/search/a\\b.json",
        "/search//a.json",
        "//evil.example/search/a.json",
        "http://evil.example/search/a.json",
        "@evil.example/search/a.json",
        "/search/a.json#",
        "/search/a.json?b",
        "/search/a;b.json",
        "/search/a b.json",
        "/search/a\r\nHost: evil.json",
        "/search/①.json",
        "/search/-.json",
        "/search/.a.json",
        "/search/a.json/",
        "/search/a.json\n",
        "/SEARCH/a.json",
        "/probe",
        "",
        "*",
        "/" + "a" * 3_000,
    ],
)
def test_a_path_outside_the_operation_is_forbidden(path: str) -> None:
    """Traversal, escapes, absolute URLs and line breaks never reach an upstream."""
    assert refused(a_search(path=path)).code is RejectCode.OPERATION_FORBIDDEN


@given(st.text(max_size=30))
def test_no_text_gets_out_of_its_segment(text: str) -> None:
    """Whatever stands in for a wildcard is one plain segment, or refused."""
    path = f"/search/{text}.json"
    plan = plan_for(a_search(path=path))
    if isinstance(plan, Plan):
        assert plan.outbound.path == path
        assert text.isascii()
        assert not set(text) & set("/\\%?#@:; \r\n")
        assert not text.startswith(".")


@pytest.mark.parametrize(
    "path", ["/-/tokens.json", "/-/actor.json", "/_internal/databases.json", "/-/logs.json"]
)
def test_datasette_s_own_pages_are_no_tables(path: str) -> None:
    """The search operation does not open the server's internals to a buyer."""
    refusal = plan_call(DATASETTE, DATASETTE.resources[0], a_search(path=path), 1)
    assert isinstance(refusal, Reject)
    table = a_search(path="/db/table.json", query="_search=cat&_shape=array")
    assert isinstance(plan_call(DATASETTE, DATASETTE.resources[0], table, 1), Plan)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "CONNECT", "get", "GET\r\nX: y", "POST"])
def test_a_method_outside_the_operation_is_forbidden(method: str) -> None:
    """The method is compared as it stands."""
    assert refused(a_search(method=method)).code is RejectCode.OPERATION_FORBIDDEN


@pytest.mark.parametrize(
    "query", ["a=1\r\nX: y", "a b", "a=#", "é=1", "x" * 9_000, "debug=1", "a=1&DEBUG", "de%62ug=1"]
)
def test_a_query_with_forbidden_parts_is_refused(query: str) -> None:
    """Line breaks, fragments and forbidden parameters, also when they are encoded."""
    assert refused(a_search(query=query)).code is RejectCode.OPERATION_FORBIDDEN
    assert planned(a_search(query="q=a%20b&n=1")).outbound.query == "q=a%20b&n=1"


@pytest.mark.parametrize(
    "query", ["api_key=x", "API_KEY=x", "a=1;api_key=x", "api%5Fkey=x", "api_key[]=x"]
)
def test_nobody_sends_a_key_parameter_along(query: str) -> None:
    """A second key in the query cannot displace or disturb the pooled one."""
    provider = a_provider(key=KeyPlace(query="api_key"))
    assert refused(a_search(query=query), provider).code is RejectCode.OPERATION_FORBIDDEN


def test_only_listed_headers_pass() -> None:
    """Credentials, cookies, hop-by-hop and forwarding headers are dropped."""
    sent = [
        "Authorization",
        "X-Api-Key",
        "api-key",
        "X-Goog-Api-Key",
        "Cookie",
        "Host",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Content-Length",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "Forwarded",
        "Via",
        "Accept-Encoding",
        "Expect",
        "Range",
        "X-Base-Url",
        "Helicone-Target-URL",
    ]
    headers = (*((name, "evil") for name in sent), ("ACCEPT", "text/csv"), ("X-Echo-Mode", "m"))
    plan = planned(a_search(headers=headers))
    assert plan.outbound.headers == (("accept", "text/csv"), ("x-echo-mode", "m"))


@pytest.mark.parametrize(
    "headers",
    [
        (("accept", "a\r\nX: y"),),
        (("accept", "a\x00"),),
        (("accept", "é"),),
        (("accept", "a" * 9_000),),
        (("accept", "a"), ("Accept", "b")),
        (("x-any", "1"),) * 101,
    ],
)
def test_a_listed_header_must_be_plain_and_single(headers: tuple[tuple[str, str], ...]) -> None:
    """Nothing that two parsers could read differently is passed on."""
    assert refused(a_search(headers=headers)).code is RejectCode.OPERATION_FORBIDDEN


def test_bodies_are_bounded() -> None:
    """A body over the provider's limit is too large, and a GET has none."""
    assert refused(a_chat(messages="x" * 30_000)).code is RejectCode.TOO_LARGE
    assert refused(a_search(body=b"{}")).code is RejectCode.OPERATION_FORBIDDEN


def test_a_body_goes_out_as_json() -> None:
    """Whatever its client called it, the upstream parses it as what was checked."""
    headers = (("Content-Type", "application/x-www-form-urlencoded"), ("accept", "text/csv"))
    plan = planned(msgspec.structs.replace(a_chat(), headers=headers))
    assert plan.outbound.headers == (("accept", "text/csv"), ("content-type", "application/json"))
