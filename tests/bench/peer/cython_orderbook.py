"""cython-orderbook 0.1.2: the same design as akhil4n-orderbook, compiled with Cython."""

from tests.bench.engine import Engine
from tests.bench.peer.trade_log import log_engine


def engine(orders: int) -> Engine:
    """A book that knows up to `orders` orders."""
    return log_engine("cython_orderbook", orders)
