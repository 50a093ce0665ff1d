"""The operator's settings: one TOML file, every value with a default that works locally."""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from intents.bound import AMOUNT_MAX

UNCOVERED_ATOMS_MAX: Final = 1_000_000
"""The contracts' uncovered cap: more than it nobody could settle without the buyer."""
Port = Annotated[int, Field(ge=0, le=65_535)]


class ConfigInvalid(Exception):
    """The settings cannot be used; the message names the file and the field."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChainConfig(_Section):
    """Where the market settles."""

    rpc_url: HttpUrl | None = None
    """None: start a local Anvil that keeps its chain in the data folder."""
    chain_id: int = Field(default=31_337, ge=1)
    block_seconds: float = Field(default=1.0, gt=0, le=60)
    """About how often the node has a new block: how often we look."""
    exit_delay_seconds: int = Field(default=3_600, ge=900, le=30 * 86_400)
    """How long the market has to settle what was delivered; longer than any lease."""
    session_cap_usdc: int = Field(default=1_000_000, ge=1)
    """The most that the operator's session key may settle in its life."""
    deployer_key_file: Path | None = None
    """Hex secret of the key that deploys and pays gas. None: Anvil's well-known first key,
    on a local chain only."""
    usdc: Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")] | None = None
    """The token that is settled, with 6 decimals. None: a test token is deployed, on a local
    chain only."""
    gas_funds_wei: int | None = Field(default=None, ge=1)
    """What the operator's keys get from the deployer to pay gas with: the session key so much,
    its owner at first twice. None: 10 ether, on a local chain only."""


class MarketConfig(_Section):
    """How it trades."""

    epoch_ms: int = Field(default=200, ge=20, le=60_000)
    """Length of an auction."""
    epoch_resources: tuple[str, ...] = ()
    """Resources that trade in epochs, beside those whose provider file says so."""
    selection: Literal["least-recently-used", "round-robin"] = "least-recently-used"
    """Which of an intent's keys serves the next call."""
    batch_fills_max: int = Field(default=50, ge=1, le=250)
    batch_interval_ms: int = Field(default=2_000, ge=10, le=600_000)
    """How long a delivered fill waits for others at most."""
    metered_atoms_max: int = Field(default=0, ge=0, le=UNCOVERED_ATOMS_MAX)
    """Intents that cost up to so much in all are paid by what their buyers sign for in sums,
    instead of one by one on chain. 0: none."""
    uncovered_atoms_max: int = Field(default=UNCOVERED_ATOMS_MAX, ge=0, le=UNCOVERED_ATOMS_MAX)
    """How much such a buyer is served without a signature at most."""
    unsettled_atoms_max: int = Field(default=20_000_000, ge=0, le=AMOUNT_MAX)
    """How much a buyer is served on the word of its session keys or its contract, which can be
    taken back, until it is final on chain. What a plain key signs is not bounded so."""
    metered_interval_ms: int = Field(default=10_000, ge=10, le=300_000)
    """How long signed sums wait for those of others at most."""
    unsigned_ms: int = Field(default=60_000, ge=1_000, le=300_000)
    """How long what nobody has signed for waits until the market settles it on its own word."""


class AuctionConfig(_Section):
    """Who competes within the market's own process; all others come over /v1/solve."""

    strategies: tuple[Literal["price-time", "uniform-price"], ...] = ("price-time",)
    """The book alone: a market without solvers trades all the same. Empty: only who connects."""
    award_blocks: int = Field(default=50_000, ge=0, le=10_000_000)
    """Winning solvers are paid out of what they won, by awards that can be settled for so many
    blocks: more than any lease and its settlement take. 0: nobody is charged, nobody is paid.
    Where bonds are asked for, no more than one exit delay's."""
    bond_atoms_min: int = Field(default=0, ge=0, le=AMOUNT_MAX)
    """What a solver's bond has to be, beyond what its awards can still cost it, for a bid. 0: none
    is asked for, and who does not deliver is benched alone."""
    exposure_percent: int = Field(default=100, ge=100, le=1_000)
    """How much of each penalty that can come a bond has to cover."""
    penalty_atoms_max: int = Field(default=1_000_000, ge=1, le=AMOUNT_MAX)
    """What an award can cost a solver that does not deliver, at most. The contract keeps the one
    that it was deployed with."""


class GatewayConfig(_Section):
    """How fast anyone may ask. Bursts are twice as much."""

    address_per_second: int = Field(default=200, ge=1, le=100_000)
    account_per_second: int = Field(default=50, ge=1, le=100_000)
    documents_per_second: int = Field(default=4_000, ge=1, le=1_000_000)
    """Intents in batches and on intake sockets: of one network, and of one account."""
    network_sockets: int = Field(default=16, ge=1, le=1_024)
    """Intake and solver sockets that one network may have open; of feeds four times as many, and
    thirty-two times as many connections in all. Raise it behind a reverse proxy, whose address
    every client has."""
    verifiers: int | None = Field(default=None, ge=0, le=256)
    """Processes that verify signatures. None: one for each core; 0: the market does it."""


class Config(_Section):
    """Everything that `keyfill up` can be told."""

    data_dir: Path = Path(".keyfill")
    host: str = "127.0.0.1"
    port: Port = 8_421
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    chain: ChainConfig = ChainConfig()
    market: MarketConfig = MarketConfig()
    auction: AuctionConfig = AuctionConfig()
    gateway: GatewayConfig = GatewayConfig()
    providers_dir: Path | None = None
    """TOML files of providers beside the built-in ones."""
    upstreams: dict[str, HttpUrl] = {}
    """Provider name → base URL, for providers that the operator runs."""
    private_networks: tuple[str, ...] = ()
    """Providers whose hosts may be in the operator's own network or on this machine."""


def load_config(path: Path | None, **overrides: object) -> Config:
    """Read settings from `path` (None: defaults), then apply overrides that are not None.

    Raises ConfigInvalid.
    """
    try:
        values = tomllib.loads(path.read_text()) if path else {}
        given = {name: value for name, value in overrides.items() if value is not None}
        return Config.model_validate(values | given)
    except FileNotFoundError as error:
        raise ConfigInvalid(
            f"{path}: there is no such file. Leave --config out for a market with the defaults, "
            "or write the settings that differ: README.md, A market of your own, has some"
        ) from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigInvalid(f"{path or 'settings'}: {field}: {first['msg']}") from error
