"""What agents, contributors and solvers import. See README.md."""

from intents.signature import SigningKey
from solver.client.agent import Agent
from solver.client.bought import Answer, BoughtIntent, Stream
from solver.client.bundle import BoughtBundle
from solver.client.contributor import Contributor, SignedOffer
from solver.client.fault import MarketFault, NotFilled, NotOwed, Rejected, Unexpected, Unreachable
from solver.client.key import read_key
from solver.client.mandate import MandateSession
from solver.client.market import Market
from solver.client.model import MandateSecret
from solver.client.purchase import Bought, Purchase
from solver.client.solver import Desk, Solver
from solver.client.stream import Intake
from solver.core.auction import Solution
from solver.core.command import ClearedBook, SolutionFill

__all__ = [
    "Agent",
    "Answer",
    "Bought",
    "BoughtBundle",
    "BoughtIntent",
    "ClearedBook",
    "Contributor",
    "Desk",
    "Intake",
    "MandateSecret",
    "MandateSession",
    "Market",
    "MarketFault",
    "NotFilled",
    "NotOwed",
    "Purchase",
    "Rejected",
    "SignedOffer",
    "SigningKey",
    "Solution",
    "SolutionFill",
    "Solver",
    "Stream",
    "Unexpected",
    "Unreachable",
    "read_key",
]
