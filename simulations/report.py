"""What runs leave on disk: rows as parquet, a manifest, and a plot drawn from the two."""

from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from simulations.measure import Figure, figures_of, speed_of
from simulations.plot import draw
from simulations.scenario import Parameters
from simulations.world import Row, Run

CODE: Final = ("intents", "solver/core", "simulations")
"""The packages that decide a run's outcome."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What to run again to get the same rows, and how to tell that they are the same."""

    scenario: str
    code_version: str
    parameters: list[Parameters]
    state_hashes: dict[str, str]
    content_hashes: dict[str, str]
    sources_atoms: dict[str, dict[str, int]]
    figures: list[Figure]


def write(scenario: str, runs: list[Run], seconds: float, out: Path) -> list[Figure]:
    """Leave `<scenario>-<variant>.parquet`, `<scenario>.json` and `<scenario>.png` in `out`.

    What depends on the machine is returned and not written: two machines write the same.
    """
    out.mkdir(parents=True, exist_ok=True)
    tables = {run.parameters.variant: _table(run.rows) for run in runs}
    for variant, table in tables.items():
        pq.write_table(table, _parquet(out, scenario, variant), compression="zstd")
    manifest = _manifest(scenario, runs, tables)
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (out / f"{scenario}.json").write_bytes(encoded + b"\n")
    plot(scenario, out)
    return manifest.figures + speed_of(runs, seconds)


def plot(scenario: str, out: Path) -> Path:
    """Draw `<scenario>.png` again from the files that are in `out`, and nothing else."""
    manifest = read_manifest(out / f"{scenario}.json")
    series = [
        (parameters, read_rows(_parquet(out, scenario, parameters.variant)))
        for parameters in manifest.parameters
    ]
    path = out / f"{scenario}.png"
    draw(series, path)
    return path


def read_manifest(path: Path) -> Manifest:
    """The manifest of a scenario's last run."""
    return msgspec.json.decode(path.read_bytes(), type=Manifest)


def read_rows(path: Path) -> list[Row]:
    """The rows of one parquet file."""
    return msgspec.convert(pq.read_table(path).to_pylist(), list[Row])


def content_hash(table: pa.Table) -> str:
    """A hash of names, types and values: the same whatever wrote or compressed the file."""
    content = (str(table.schema.remove_metadata()), table.to_pylist())
    return blake2b(msgspec.msgpack.encode(content), digest_size=16).hexdigest()


def code_version() -> str:
    """A hash over the sources of `CODE`, so that a manifest needs no version control."""
    root = Path(__file__).parent.parent
    hasher = blake2b(digest_size=16)
    for package in CODE:
        for path in sorted((root / package).rglob("*.py")):
            hasher.update(path.relative_to(root).as_posix().encode() + b"\0")
            hasher.update(path.read_bytes() + b"\0")
    return hasher.hexdigest()


def _manifest(scenario: str, runs: list[Run], tables: dict[str, pa.Table]) -> Manifest:
    return Manifest(
        scenario=scenario,
        code_version=code_version(),
        parameters=[run.parameters for run in runs],
        state_hashes={run.parameters.variant: run.state_hash for run in runs},
        content_hashes={variant: content_hash(table) for variant, table in tables.items()},
        sources_atoms={run.parameters.variant: run.sources for run in runs},
        figures=figures_of(runs),
    )


def _parquet(out: Path, scenario: str, variant: str) -> Path:
    return out / f"{scenario}-{variant}.parquet"


def _table(rows: tuple[Row, ...]) -> pa.Table:
    return pa.table(
        {name: [getattr(row, name) for row in rows] for name in Row.__struct_fields__},
        schema=_SCHEMA,
    )


_ARROW: Final[dict[Any, pa.DataType]] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_SCHEMA: Final = pa.schema(
    [(field.name, _ARROW[field.type]) for field in msgspec.structs.fields(Row)]
)
