"""What agents, contributors and solvers import. See README.md."""

from intents.signature import SigningKey
from solver.client.agent import Agent, Answer, BoughtIntent, Stream
from solver.client.contributor import Contributor
from solver.client.fault import MarketFault, NotFilled, Rejected, Unexpected, Unreachable
from solver.client.key import read_key
from solver.client.market import Market
from solver.client.solver import Desk, Solver
from solver.core.command import SolutionFill

__all__ = [
    "Agent",
    "Answer",
    "BoughtIntent",
    "Contributor",
    "Desk",
    "Market",
    "MarketFault",
    "NotFilled",
    "Rejected",
    "SigningKey",
    "SolutionFill",
    "Solver",
    "Stream",
    "Unexpected",
    "Unreachable",
    "read_key",
]
