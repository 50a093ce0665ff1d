"""The providers this vault knows: package data, then an operator's own files.

Everything about an upstream's address comes from here, at load time, and never from a
request.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from intents.bound import RESOURCE_BYTES_MAX, UNITS_MAX, WINDOW_SECONDS_MAX
from solver.vault.address import is_permitted, parse_address
from solver.vault.fault import CatalogueFault
from solver.vault.template import PerCall, Provider, Resource

PROVIDERS_MAX: Final = 1_000
FILE_BYTES_MAX: Final = 256 * 1024
PORT_MAX: Final = 2**16 - 1

BASE_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:(?P<port>[1-9][0-9]{0,4}))?"
)
LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
OLD_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
OPERATION_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._/-]*")
PROTECTED_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)
"""Headers that no file may let through: they belong to one hop or to one party."""


class Catalogue:
    """An immutable set of providers, by name and by resource."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = MappingProxyType(dict(sorted(providers.items())))
        self._resources = {
            resource.name: (provider, resource)
            for provider in self._providers.values()
            for resource in provider.resources
        }

    def provider(self, name: str) -> Provider | None:
        """The provider of this name, or None."""
        return self._providers.get(name)

    def providers(self) -> tuple[Provider, ...]:
        """All of them, in the order of their names."""
        return tuple(self._providers.values())

    def resource(self, name: str) -> tuple[Provider, Resource] | None:
        """Who sells the resource of this name, or None."""
        return self._resources.get(name)


def load_catalogue(
    directory: Path | None = None,
    *,
    overrides: Mapping[str, str] = MappingProxyType({}),
    private_networks: Collection[str] = (),
) -> Catalogue:
    """The shipped providers, those of `directory` (which win), and the operator's addresses.

    `overrides` maps a provider's name to its base URL; `private_networks` names those
    that are in the operator's own network. A file without a base URL is a template and is
    left out until it is given one.
    """
    files = [*_files(resources.files("solver.vault") / "provider")]
    files += _files(directory) if directory else []
    found: dict[str, tuple[str, Provider]] = {}
    for file in files:
        provider = _read(file)
        found[provider.name] = (file.name, provider)
    unknown = sorted({*overrides, *private_networks} - found.keys())
    if unknown or len(found) > PROVIDERS_MAX:
        raise CatalogueFault(f"settings name providers without a file: {', '.join(unknown)}")
    placed = {
        name: _placed(file, provider, overrides.get(name), private=name in private_networks)
        for name, (file, provider) in found.items()
    }
    return Catalogue({name: each for name, each in placed.items() if each.base_url})


def parse_provider(text: str, file: str) -> Provider:
    """One file's text as a provider, or a CatalogueFault that names file and field."""
    reason = ""
    try:
        provider = msgspec.convert(tomllib.loads(text), Provider)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
    except msgspec.ValidationError as error:
        reason = _reworded(str(error))
    if reason:
        raise CatalogueFault(f"{file}: {reason}")
    for field, problem in _problems(provider):
        raise CatalogueFault(f"{file}: {field}: {problem}")
    return provider


def _files(directory: Path | Traversable) -> Iterator[Path | Traversable]:
    entries = sorted(directory.iterdir(), key=lambda entry: entry.name)
    return (entry for entry in entries if entry.name.endswith(".toml"))


def _read(file: Path | Traversable) -> Provider:
    try:
        raw = file.read_bytes()
        if len(raw) > FILE_BYTES_MAX:
            raise CatalogueFault(f"{file.name}: larger than {FILE_BYTES_MAX} bytes")
        return parse_provider(raw.decode(), file.name)
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueFault(f"{file.name}: {error}") from None


def _placed(file: str, provider: Provider, base_url: str | None, *, private: bool) -> Provider:
    placed = msgspec.structs.replace(
        provider,
        base_url=base_url if base_url is not None else provider.base_url,
        private_network=private or provider.private_network,
    )
    problem = _address_problem(placed) if placed.base_url else ""
    if problem:
        raise CatalogueFault(f"{file}: base_url: {problem}")
    return placed


def _reworded(message: str) -> str:
    """`… - at `$.a.b`` in msgspec's words as `a.b: …`."""
    problem, found, field = message.rpartition(" - at ")
    return f"{field.strip('`').removeprefix('$.')}: {problem}" if found else message


def _problems(provider: Provider) -> Iterator[tuple[str, str]]:
    yield from _key_problems(provider)
    if set(provider.probe.ok) & set(provider.probe.dead) or not provider.probe.ok:
        yield "probe", "ok and dead must differ, and ok must not be empty"
    allowed = {*provider.request_headers, *provider.response_headers}
    for header in sorted(allowed & (PROTECTED_HEADERS | {provider.key.header or ""})):
        yield "request_headers, response_headers", f"{header} never passes through"
    for limit in provider.limits:
        if not (0 < limit.units <= UNITS_MAX and 0 < limit.seconds <= WINDOW_SECONDS_MAX):
            yield "limit", "units and seconds are positive and bounded"
    names = [resource.name for resource in provider.resources]
    if len(set(names)) != len(names):
        yield "resource", "names must differ"
    for position, resource in enumerate(provider.resources):
        yield from _resource_problems(provider, f"resource[{position}]", resource)


def _key_problems(provider: Provider) -> Iterator[tuple[str, str]]:
    place = provider.key
    if (place.header is None) == (place.query is None):
        yield "key", "give either header or query"
    if place.header in PROTECTED_HEADERS - {"authorization"}:
        yield "key.header", f"{place.header} cannot carry a key"
    if place.format.count("{key}") != 1 or not place.format.isprintable():
        yield "key.format", "needs {key} exactly once, and visible text"
    if place.query is not None and place.format != "{key}":
        yield "key.format", "a query parameter is the key alone"


def _resource_problems(
    provider: Provider, field: str, resource: Resource
) -> Iterator[tuple[str, str]]:
    prefix, suffix = f"{provider.name}/", f":{resource.unit}"
    middle = resource.name.removeprefix(prefix).removesuffix(suffix)
    if prefix + middle + suffix != resource.name or not OPERATION_NAME.fullmatch(middle):
        yield f"{field}.name", f"must read {prefix}<operation>{suffix}"
    if len(resource.name.encode()) > RESOURCE_BYTES_MAX:
        yield f"{field}.name", f"has more than {RESOURCE_BYTES_MAX} bytes"
    if (resource.unit == "call") != isinstance(resource.metering, PerCall):
        yield f"{field}.metering", "per_call counts calls, usage_tokens counts tokens"
    for position, operation in enumerate(resource.operations):
        if operation.require and operation.method != "POST":
            yield f"{field}.operation[{position}].require", "only a POST has a body"


def _address_problem(provider: Provider) -> str:
    match = BASE_URL.fullmatch(provider.base_url)
    if match is None:
        return "must read scheme://host[:port], in lower case and without a path"
    if match["port"] and int(match["port"]) > PORT_MAX:
        return "no such port"
    if match["scheme"] == "http" and not provider.private_network:
        return "plain http sends keys in the clear; only private_network may use it"
    return _host_problem(match["host"], private_network=provider.private_network)


def _host_problem(host: str, *, private_network: bool) -> str:
    address = parse_address(host.strip("[]"))
    if address is not None:
        permitted = is_permitted(address, private_network=private_network)
        return "" if permitted else "this address needs private_network, or is never allowed"
    labels = host.split(".")
    # `127.1`, `2130706433` and `0x7f000001` are loopback to old resolvers.
    if OLD_NUMBER.fullmatch(labels[-1]) or not all(LABEL.fullmatch(label) for label in labels):
        return "not a host name"
    return ""
