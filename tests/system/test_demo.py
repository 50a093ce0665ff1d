"""The main job, as `make demo` runs it."""

import asyncio
import io
import signal
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from solver.demo.leak import find_secrets
from solver.demo.report import print_report
from solver.demo.scenario import Scenario
from solver.demo.stage import CHAT, SEARCH, Stage, stage
from tests.patience import patience_s, patiently, until_it_is
from tests.system.load import keyfill


async def test_p2_p3_p7_the_demo_agrees_to_the_atom(tmp_path: Path) -> None:
    """Every intent ends as it should, every unit is paid once, chain and book agree.

    The demo's own story is held to what its parties signed: nobody pays above a limit,
    all money that went in is there, the dead key's calls were served by another's.
    """
    console = Console(file=io.StringIO(), width=160)
    async with stage(tmp_path / "stage") as built:
        story = await Scenario(built, console).run()
        print_report(story, console)
    assert story.agrees
    assert sum(one.chain for one in story.books) == sum(one.before for one in story.books)
    outcomes = {one.shows: one.intent.state for one in story.bought}
    assert outcomes["fills at once"].status == "settled"
    assert outcomes["all or none"].filled_units == outcomes["all or none"].delivered_units == 50
    assert 0 < outcomes["partial, then done"].filled_units < 100
    assert outcomes["too cheap to fill"].status == "expired"
    assert outcomes["cancelled"].status == "cancelled"
    for one in story.bought:
        state = one.intent.state
        assert state.paid * state.units <= state.delivered_units * state.limit
    assert all(intent.state.status == "settled" for intent in story.small)
    sums = [one for one in story.transactions if one.metered]
    assert sum(one.settled for one in sums) == len(story.small) == 40
    assert sum(one.paid for one in sums) == sum(intent.state.paid for intent in story.small)
    events = [event.event for event in story.events]
    assert events.count("KeyRetired") == 1
    assert "LeaseMoved" in events
    judged = [event.facts for event in story.events if event.event == "SolutionJudged"]
    assert len({facts["solver"] for facts in judged}) == 3
    assert all(facts["reason"] for facts in judged if facts["rank"] > 1)
    assert {call.resource for call in story.calls} == {SEARCH, CHAT}
    assert all(call.status == 200 for call in story.calls)
    assert all(one.skipped == 0 for one in story.transactions)
    assert "Chain and book agree to the atom." in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_demo_that_is_told_to_end_leaves_nothing_running(tmp_path: Path) -> None:
    """SIGTERM takes down its market, its chain and its upstream, as Ctrl-C does."""
    command = (sys.executable, "-m", "solver.cli", "demo", "--folder", str(tmp_path / "demo"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as demo:
        until_it_is(lambda: list(tmp_path.rglob("node.json")))
        demo.terminate()
        assert demo.wait(patience_s()) == 128 + signal.SIGTERM
    listed = subprocess.run(("/bin/ps", "-eo", "args"), capture_output=True, text=True, check=True)
    assert [line for line in listed.stdout.splitlines() if str(tmp_path) in line] == []


def test_p5_a_key_left_in_a_file_is_found(tmp_path: Path) -> None:
    """The demo's own search for key bytes finds a planted leak, in any file and form."""
    secret = "sk-0123456789abcdef0123456789"
    assert find_secrets(tmp_path, [secret]) == []
    (tmp_path / "market").mkdir()
    (tmp_path / "market" / "journal.db").write_bytes(b"\0\0" + secret.encode().hex().encode())
    (tmp_path / "upstream").mkdir()
    (tmp_path / "upstream" / "tokens.db").write_text(secret)
    assert find_secrets(tmp_path, [secret]) == ["market/journal.db"]


async def test_the_cli_works_by_hand(tmp_path: Path) -> None:
    """What `--keep` tells a person to try does what it says, through the `keyfill` command."""
    async with stage(tmp_path / "stage") as built:
        await _open_for_business(built)
        for words in (
            "account new",
            "account fund 5",
            "account deposit 5",
            "balance",
            f"book {SEARCH}",
            "key providers",
        ):
            code, output = await keyfill(built.data_dir, words)
            assert code == 0, f"{words}: {output}"
        async with patiently():
            while '"usdc available": "5.000000"' not in output:
                _, output = await keyfill(built.data_dir, "balance --json")
        code, output = await keyfill(
            built.data_dir, f"intent create {SEARCH} --units 2 --limit 0.01 --wait --json"
        )
        assert code == 0, output
        digest = output.split('"digest": "')[1].split('"')[0]
        code, output = await keyfill(
            built.data_dir, f"call {digest} GET /docs/pages.json?_search=asyncio&_size=1"
        )
        assert code == 0, output
        assert '"rows"' in output
        code, output = await keyfill(built.data_dir, f"intent done {digest} --json")
        assert code == 0, output
        assert await _run_readme_example(built) == 0
        code, output = await keyfill(built.data_dir, "intent list --json")
        assert output.count('"status"') == 2, output
        code, output = await keyfill(built.data_dir, "intent show 0x00")
        assert code == 1
        assert "Traceback" not in output


async def _run_readme_example(built: Stage) -> int:
    """The README's first intent, word for word, against this market's folder."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme.split("```python\n")[1].split("```")[0]
    assert ".keyfill/demo/market" in example
    program = example.replace(".keyfill/demo/market", str(built.data_dir))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    return await process.wait()


async def _open_for_business(built: Stage) -> None:
    await built.start_chain()
    await built.start_upstreams()
    await built.start_market()
    seller = built.seller("seller").contributor
    pooled = await seller.contribute("datasette", built.search_token("seller"), attest=True)
    await seller.offer(SEARCH, key=pooled.key, units=10, limit=10_000)
