"""The HTTP server: aiohttp's parser and sockets, with bounds on connections and on slowness."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

from aiohttp import WSCloseCode, web

from solver.gateway.connection import Connection
from solver.gateway.door import Door
from solver.gateway.gateway import Load

BACKLOG: Final = 128
SHUTDOWN_SECONDS_MAX: Final = 5


@asynccontextmanager
async def serve(door: Door, host: str, port: int) -> AsyncIterator[int]:
    """Serve what is behind the door; yields the port (0 asks for a free one)."""
    limits = door.gateway.limits
    loop = asyncio.get_running_loop()
    # It knows who is connected. Requests go from a connection to the door.
    server = web.Server(
        cast("Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]", door.answer)
    )

    listener = await loop.create_server(
        lambda: Connection(server, door, limits),
        host,
        port,
        backlog=BACKLOG,
        family=socket.AF_UNSPEC,
    )
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await asyncio.sleep(0)  # what has just come in is taken up before idle ones are closed
        server.pre_shutdown()
        await _close_sockets(door.gateway.load)
        await server.shutdown(SHUTDOWN_SECONDS_MAX)


async def _close_sockets(load: Load) -> None:
    """Tell every subscriber that the server goes away."""
    goodbyes = [
        one.close(code=WSCloseCode.GOING_AWAY, message=b"shutting down", drain=False)
        for one in load.sockets
    ]
    await asyncio.gather(*goodbyes, return_exceptions=True)
