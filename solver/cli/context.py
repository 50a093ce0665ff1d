"""What every command shares: where the market is, who is asking, how to print."""

import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import msgspec
from cyclopts import Group, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intents.bound import AMOUNT_MAX
from intents.signature import SigningKey
from solver.client import read_key

ATOMS_PER_USDC: Final = 10**6
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")
_HASH: Final = re.compile(r"0x[0-9a-f]{64}")
WIDTH_MAX: Final = 1_000
OUT: Final = Console()
ERR: Final = Console(stderr=True)


class CommandFailed(Exception):
    """A command cannot go on; the message says what to do."""


class NodeFile(msgspec.Struct, frozen=True, kw_only=True):
    """What `keyfill up` leaves in its data folder for other commands."""

    url: str
    rpc_url: str
    pid: int


@Parameter(name="*", group=Group("Options of every command", sort_key=1))
@dataclass(frozen=True, kw_only=True)
class Context:
    """Options of every command."""

    data_dir: Annotated[Path, Parameter(env_var="KEYFILL_DATA_DIR")] = Path(".keyfill")
    """Folder of the local market."""
    url: Annotated[str | None, Parameter(env_var="KEYFILL_URL")] = None
    """The market's address, http://… Default: the one noted in the data folder."""
    key_file: Annotated[Path | None, Parameter(env_var="KEYFILL_KEY_FILE")] = None
    """File with the secret key that signs (hex). Default: keys/me.key in the data folder."""
    account: Annotated[str | None, Parameter(env_var="KEYFILL_ACCOUNT")] = None
    """Account to act for, where the key is a session key of it. Default: the key's own."""
    json: bool = False
    """Print one JSON object instead of a table."""

    def node(self) -> NodeFile:
        """Where the local market and its chain are."""
        path = self.data_dir / "node.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=NodeFile)
        except (OSError, msgspec.DecodeError) as error:
            raise CommandFailed(
                f"no market in {self.data_dir}: run `keyfill up`, or name one (--data-dir, --url)"
            ) from error

    def market_url(self) -> str:
        """Where the market is."""
        return self.url or self.node().url

    def key(self) -> SigningKey:
        """The key that signs."""
        path = self.key_path()
        if not path.exists():
            raise CommandFailed(f"no key at {path}: run `keyfill account new`")
        return stored_key(path)

    def key_path(self) -> Path:
        """Where the key that signs is."""
        return self.key_file or self.data_dir / "keys" / "me.key"

    def show(self, title: str, facts: Mapping[str, Any]) -> None:
        """Print one thing."""
        if self.json:
            OUT.print_json(json.dumps(facts))
            return
        # Ids are there to be copied: never cut, whatever the width of the terminal.
        width = max(len(name) for name in facts)
        OUT.print(f"[bold]{title}[/]")
        for name, value in facts.items():
            shown = escape(_shown(value))
            OUT.print(f"  [dim]{name:<{width}}[/]  {shown}", soft_wrap=True, highlight=False)

    def show_rows(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print several things of one kind: a table, or one by one where that is too wide."""
        if self.json:
            OUT.print_json(json.dumps(list(rows)))
            return
        if not rows:
            OUT.print(f"{title}: none")
            return
        table = Table(title=title, title_justify="left")
        for name in rows[0]:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(escape(_shown(value)) for value in row.values()))
        # Room for the longest words: ids are copied, so none is broken in two.
        if OUT.measure(table, options=OUT.options.update(max_width=WIDTH_MAX)).minimum <= OUT.width:
            OUT.print(table)
            return
        for place, row in enumerate(rows, 1):
            self.show(f"{title}, {place} of {len(rows)}", row)


def _shown(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{name} {count}" for name, count in value.items()) or "-"
        case list():
            return ", ".join(map(str, value)) or "-"
    return str(value)


def stored_key(path: Path) -> SigningKey:
    """The key in a file. Raises CommandFailed."""
    try:
        return read_key(path)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandFailed(str(error)) from error


def new_key(path: Path) -> SigningKey:
    """Make a key in a file that only its owner may read. Refuses to replace one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise CommandFailed(f"{path} exists; name another with --key-file") from error
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return stored_key(path)


def read_or_new_key(path: Path) -> SigningKey:
    """The key in a file, which is made if it does not exist."""
    return stored_key(path) if path.exists() else new_key(path)


def atoms(usdc: str) -> int:
    """Atoms of a decimal amount of USDC, exactly."""
    try:
        value = Decimal(usdc)
    except InvalidOperation:
        _refuse_amount(usdc)
    if not value.is_finite() or not 0 <= value <= AMOUNT_MAX // ATOMS_PER_USDC:
        _refuse_amount(usdc)
    if (whole := value * ATOMS_PER_USDC) != int(whole):
        _refuse_amount(usdc)
    return int(whole)


def address(text: str) -> str:
    """A lower-case address, or CommandFailed."""
    if _ADDRESS.fullmatch(text.lower()) is None:
        raise CommandFailed(f"{text!r} is no address: 0x and 40 hex digits")
    return text.lower()


def identifier(text: str, kind: str) -> str:
    """The id of an intent, an offer, a key or a mandate, or CommandFailed."""
    if _HASH.fullmatch(text) is None:
        raise CommandFailed(f"{text!r} is no id of {kind}: 0x and 64 hex digits")
    return text


def whole(option: str, number: int, least: int, most: int) -> int:
    """A number within its bounds, or CommandFailed."""
    if not least <= number <= most:
        raise CommandFailed(f"{option} is {least:,} to {most:,}")
    return number


def usdc(amount_atoms: int) -> str:
    """A decimal amount of USDC, with all six places."""
    sign = "-" if amount_atoms < 0 else ""
    whole, rest = divmod(abs(amount_atoms), ATOMS_PER_USDC)
    return f"{sign}{whole:,}.{rest:06}"


def _refuse_amount(text: str) -> NoReturn:
    most = AMOUNT_MAX // ATOMS_PER_USDC
    raise CommandFailed(f"{text!r} is no amount of USDC: at most six places, at most {most:,}")
