"""What a run leaves on disk, and that it is the same for whoever runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from simulations.report import content_hash, plot, read_manifest, read_rows

ROOT = Path(__file__).parents[2]


def simulate(out: Path, hash_seed: str = "0") -> list[dict[str, object]]:
    """The command line, in a process of its own; its JSON lines."""
    command = [sys.executable, "-m", "simulations", "credits", "--json"]
    command += ["--agents", "20", "--rounds", "200", "--seed", "7", "--out", str(out)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_report_is_the_same_under_another_hash_seed(tmp_path: Path) -> None:
    """Manifest, with state and content hashes, is byte for byte the same in two processes."""
    simulate(tmp_path / "one", "1")
    simulate(tmp_path / "two", "2")
    one, two = ((tmp_path / name / "credits.json").read_bytes() for name in ("one", "two"))
    assert one == two


def test_report_is_complete(tmp_path: Path) -> None:
    """Parquet per variant with the content that the manifest names, a PNG, and JSON figures."""
    figures = simulate(tmp_path)
    manifest = read_manifest(tmp_path / "credits.json")
    assert [parameters.seed for parameters in manifest.parameters] == [7, 7]
    for variant in ("closed", "unmatched"):
        path = tmp_path / f"credits-{variant}.parquet"
        assert content_hash(pq.read_table(path)) == manifest.content_hashes[variant]
        assert [row.period for row in read_rows(path)] == list(range(1, 11))
    values = {figure["name"]: figure["value"] for figure in figures}
    assert values["conservation_residual"] == 0
    assert {"served_share_closed", "served_share_unmatched_end", "rounds_per_s"} <= values.keys()
    assert all(figure.keys() == {"name", "value", "unit"} for figure in figures)


def test_content_hash_sees_one_changed_value(tmp_path: Path) -> None:
    """Two tables that differ in one cell have two hashes."""
    simulate(tmp_path)
    table = pq.read_table(tmp_path / "credits-closed.parquet")
    changed = table.set_column(
        table.schema.get_field_index("served"),
        "served",
        [[value + (index == 3) for index, value in enumerate(table["served"].to_pylist())]],
    )
    assert content_hash(changed) != content_hash(table)


def test_figure_is_drawn_from_the_files_alone(tmp_path: Path) -> None:
    """Drawing again from parquet and manifest gives the very same PNG."""
    simulate(tmp_path)
    first = (tmp_path / "credits.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    (tmp_path / "credits.png").unlink()
    assert plot("credits", tmp_path).read_bytes() == first


def test_manifest_has_no_machine_in_it(tmp_path: Path) -> None:
    """Neither speed nor paths: two machines write the same manifest."""
    simulate(tmp_path)
    text = msgspec.json.encode(read_manifest(tmp_path / "credits.json")).decode()
    assert str(tmp_path) not in text
    assert "rounds_per_s" not in text
