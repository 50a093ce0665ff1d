"""cython-orderbook 0.1.2: the same design as akhil4n-orderbook, compiled with Cython."""

from tests.bench.engine import Engine
from tests.bench.flow import Flow
from tests.bench.peer.trade_log import log_engine


def engine(flow: Flow) -> Engine:
    """A book for this flow."""
    return log_engine("cython_orderbook", flow)
