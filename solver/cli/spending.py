"""`keyfill spending`: what an account owes for small calls, and its signature for that."""

from typing import Any

from cyclopts import App

from solver.cli.context import Context, usdc
from solver.cli.trade import LOCAL, agent_of
from solver.client.owed import Owed

app = App(name="spending", help="What you owe for small calls, and your signature for it.")


@app.command
async def show(*, context: Context = LOCAL) -> None:
    """What was served and is not signed for yet, fill by fill."""
    async with agent_of(context) as agent:
        told = await agent.spending.statement()
        context.show_rows("owed", [_row(owed) for owed in told.owed])


@app.command
async def sign(*, context: Context = LOCAL) -> None:
    """Sign for all of it, by the market's word: look at it with `spending show` before.

    One signature stands for all that was served since the last one was settled.
    """
    async with agent_of(context) as agent:
        told = await agent.spending.sign(trusting=True)
        context.show(
            "spending",
            {
                "account": told.document.account,
                "signed in all": usdc(told.document.spent),
                "not signed": usdc(told.exposure),
                "served unsigned at most": usdc(told.uncovered_max),
            },
        )


def _row(owed: Owed) -> dict[str, Any]:
    return {
        "intent": owed.intent,
        "seller": owed.seller,
        "units": owed.delivered,
        "owed": usdc(owed.payment),
        "solver": "" if owed.award is None else owed.award.solver,
        "reward": usdc(owed.reward),
    }
