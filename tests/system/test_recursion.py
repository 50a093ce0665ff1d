"""What a body can do to the process that reads it."""

import subprocess
import sys

PROGRAM = """
import sys
import msgspec
import solver.run
assert sys.getrecursionlimit() <= 1_000, sys.getrecursionlimit()
for body in (b"[" * 1_000_000, b'{"a":' * 1_000_000):
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        print("refused")
"""


def test_deep_nesting_does_not_end_the_process() -> None:
    """With everything imported that a market imports, a deep body is refused, not fatal.

    A library behind web3 raises the interpreter's recursion limit to 100,000 when it is
    imported; a C decoder then runs out of stack and takes the process with it.
    """
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"refused", b"refused"]
