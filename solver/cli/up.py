"""`keyfill up`: run a market until it is told to stop."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.panel import Panel

from solver.cli.context import ERR, NodeFile
from solver.engine.collector import settle
from solver.run import Node, market
from solver.runtime.config import Config, load_config
from solver.runtime.log import configure_log
from solver.runtime.loop import run


def up(
    *,
    config: Annotated[Path | None, Parameter(help="Settings, a TOML file.")] = None,
    data_dir: Annotated[
        Path | None,
        Parameter(env_var="KEYFILL_DATA_DIR", help="Folder of the market. Default: .keyfill."),
    ] = None,
    host: Annotated[str | None, Parameter(help="Where it listens. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, Parameter(help="Default: 8421; 0 picks a free one.")] = None,
    json: Annotated[bool, Parameter(help="Print where it is as one JSON line.")] = False,
    log_level: Annotated[str | None, Parameter(help="debug, info, warning or error.")] = None,
) -> None:
    """Run a market. Without settings it starts its own local chain and deploys to it.

    Everything it must not lose is in the data folder; stop and start it as you like.
    """
    settings = load_config(config, data_dir=data_dir, host=host, port=port, log_level=log_level)
    configure_log(level=settings.log_level)
    run(_up(settings, json=json))


async def _up(settings: Config, *, json: bool) -> None:
    """Run a market until a signal."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with market(settings) as node:
        settle()
        node_file = settings.data_dir / "node.json"
        _announce(settings, node, node_file)
        if json:
            sys.stdout.write(node_file.read_text() + "\n")
            sys.stdout.flush()
        await stop.wait()
        node_file.unlink(missing_ok=True)


def _announce(settings: Config, node: Node, node_file: Path) -> None:
    told = NodeFile(url=node.url, rpc_url=node.rpc_url, pid=os.getpid())
    draft = node_file.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(told))
    draft.replace(node_file)
    if not ERR.is_terminal:
        return
    ERR.print(
        Panel.fit(
            f"market      {node.url}\n"
            f"chain       {node.rpc_url}  (id {node.domain.chain_id})\n"
            f"settlement  {node.deployment.settlement}\n"
            f"data        {settings.data_dir}\n\n"
            "Next: keyfill account new, keyfill account fund 10, keyfill account deposit 5",
            title="keyfill is up; Ctrl-C stops it",
        )
    )
