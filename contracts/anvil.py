"""A local chain: one Anvil process, started, stopped, and started again with its state.

Here rather than in `solver.settlement`, because `contracts.gas` needs it too and this
folder imports nothing of the solver. Blocking calls; none of it is for production.
"""

import json
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from contracts.fault import AnvilFailed, AnvilMissing

VERSION: Final = "1.7."
"""What the README's measurements are of."""
STATES_ON_DISK_MAX: Final = 256
"""Of old blocks, beside those in memory: a busy chain's are megabytes each, and nobody asks for
what was long final. Anvil's own bound of 3,600 took 12 GB."""
START_TIMEOUT_S: Final = 20.0
FRESH_BLOCKS_MAX: Final = 100
"""With short blocks some have passed before the first question."""
STOP_TIMEOUT_S: Final = 20.0
RPC_TIMEOUT_S: Final = 30.0
DEV_KEY: Final = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""Secret of Anvil's first account, which everyone knows."""

_FOLDER: Final = Path(__file__).parent
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Whatever proxy the environment names is not for a node on this machine."""
_LISTENING: Final = re.compile(r"^Listening on (?:\S*):(\d+)\s*$")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How the chain behaves."""

    block_time_ms: int | None = 1_000
    """None: a block per transaction and no other."""
    mixed_mining: bool = True
    """A transaction is mined at once, and blocks keep coming."""
    manual: bool = False
    """No block comes by itself: whoever starts it mines."""
    slots_in_an_epoch: int = 1
    """A block is final after twice as many."""
    state: Path | None = None
    """Loaded at the start if it exists, written at the stop."""
    history: bool = False
    """Keep the state of every block in the file, too: about 300 KB a block."""
    cache: Path | None = None
    """Where it puts the states of old blocks, up to gigabytes, which nobody needs once it has
    ended. None: a folder that is removed at the stop."""
    states_on_disk_max: int = STATES_ON_DISK_MAX
    """Of old blocks: whoever traces one needs its state."""
    begins_at_s: int | None = None
    """Time of its first block, from which on it runs with the clock. None: now."""
    port: int = 0
    """0: one that the system picks while binding it, so nobody else can take it."""


class Anvil:
    """A running chain. Use `Anvil.start`, as a context manager or with `stop`."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, cache: Path) -> None:
        self._process = process
        self._cache = cache
        self.port: Final = port
        self.pid: Final = process.pid
        self.url: Final = f"http://127.0.0.1:{port}"

    @classmethod
    def start(cls, options: Options | None = None) -> Self:
        """Start it and wait until it answers.

        Raises:
            AnvilMissing: there is no executable; the message says how to get one.
            AnvilFailed: it ended, stayed silent, or is not fresh without a state file.
        """
        options = options or Options()
        fresh = options.state is None or not options.state.exists()
        executable = find_anvil()
        cache = options.cache or Path(tempfile.mkdtemp(prefix="keyfill-anvil-"))
        process = subprocess.Popen(  # noqa: S603  a path that was found by name and version
            [executable, *_arguments(options), "--cache-path", str(cache)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Ctrl-C is for us: we stop it once what is under way is done.
            start_new_session=True,
        )
        try:
            anvil = cls(process, _await_port(process), cache)
            if fresh:
                anvil.check_fresh()
        except BaseException:
            _end(process, cache)
            raise
        return anvil

    def rpc(self, method: str, *params: object) -> Any:  # noqa: ANN401  whatever JSON says
        """One JSON-RPC call; raises AnvilFailed with the node's words."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        request = urllib.request.Request(  # noqa: S310  our own http URL
            self.url, body.encode(), {"content-type": "application/json"}
        )
        try:
            with _DIRECT.open(request, timeout=RPC_TIMEOUT_S) as response:
                answer = json.load(response)
        except OSError as error:
            raise AnvilFailed(f"{method}: {error}") from error
        if "error" in answer:
            revert = answer["error"].get("data")
            raise AnvilFailed(
                f"{method}: {answer['error']}",
                bytes.fromhex(revert[2:]) if isinstance(revert, str) else b"",
            )
        return answer["result"]

    def check_fresh(self) -> None:
        """Raise AnvilFailed unless this chain began just now, at block 0."""
        if int(self.rpc("eth_blockNumber"), 16) > FRESH_BLOCKS_MAX:
            raise AnvilFailed(f"the chain at {self.url} was there before")

    def stop(self) -> None:
        """End it; with a state file it writes its chain there first."""
        _end(self._process, self._cache)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def find_anvil() -> str:
    """The `anvil` on PATH if its version is right, else the one of `npm ci`."""
    on_path = shutil.which("anvil")
    installed = [str(path) for path in _FOLDER.glob("node_modules/@foundry-rs/anvil-*/bin/anvil")]
    for candidate in [on_path, *installed]:
        if candidate and VERSION in _version(candidate):
            return candidate
    raise AnvilMissing(
        f"keyfill needs anvil {VERSION}x: run `make setup` (or `npm ci` in contracts/)"
    )


def _version(executable: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  found by name
            [executable, "--version"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.splitlines()[0] if done.stdout else ""


def _arguments(options: Options) -> list[str]:
    arguments = ["--port", str(options.port), "--host", "127.0.0.1"]
    arguments += ["--slots-in-an-epoch", str(options.slots_in_an_epoch)]
    arguments += ["--max-persisted-states", str(options.states_on_disk_max)]
    if options.manual:
        arguments.append("--no-mining")
    elif options.block_time_ms is not None:
        seconds, rest_ms = divmod(options.block_time_ms, 1_000)
        arguments += ["--block-time", f"{seconds}.{rest_ms:03}"]
        if options.mixed_mining:
            arguments.append("--mixed-mining")
    if options.begins_at_s is not None:
        arguments += ["--timestamp", str(options.begins_at_s)]
    if options.state is not None:
        arguments += ["--state", str(options.state)]
        if options.history:
            arguments.append("--preserve-historical-states")
    return arguments


def _await_port(process: "subprocess.Popen[str]") -> int:
    """Read its output up to the line that names the port; then keep the pipe empty."""
    found: list[int] = []
    listening = threading.Event()

    def drain() -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                match = None if found else _LISTENING.match(line)
                if match:
                    found.append(int(match[1]))
                    listening.set()
        listening.set()

    threading.Thread(target=drain, name="anvil output", daemon=True).start()
    if not listening.wait(START_TIMEOUT_S) or not found:
        raise AnvilFailed(f"anvil did not start listening (exit code {process.poll()})")
    return found[0]


def _end(process: "subprocess.Popen[str]", cache: Path) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(cache, ignore_errors=True)
