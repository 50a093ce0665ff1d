"""Old records are out of the collector's sight; young cycles are still found.

Each runs in a process of its own: what is settled stays settled.
"""

import subprocess
import sys


def run(code: str) -> None:
    """Run a few lines that assert for themselves."""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_was_built_before_is_not_looked_at() -> None:
    """After `settle` no collection sees what recovery built, however much that is."""
    run("""
import gc
from solver.engine.collector import settle
records = [[n] for n in range(200_000)]
settle()
assert gc.get_freeze_count() > 200_000
assert len(gc.get_objects()) < 5_000
""")


def test_no_collection_sees_much() -> None:
    """However many records come later, a collection looks at the newest of them only."""
    run("""
import gc
from solver.engine.collector import NEW_MAX, settle
settle()
seen = []
def look(phase, info):
    if phase == "start":
        seen.append(len(gc.get_objects()))
gc.callbacks.append(look)
records = [[n] for n in range(500_000)]
assert 0.8 * 500_000 <= len(seen) * NEW_MAX <= 1.2 * 500_000, len(seen)
assert max(seen) < 1.5 * NEW_MAX, max(seen)
""")


def test_young_cycles_are_collected() -> None:
    """A cycle that is dropped while it is young is found, without anybody asking."""
    run("""
import weakref
from solver.engine.collector import settle
class Node: pass
settle()
gone = 0
refs = []
for n in range(200_000):
    node = Node(); node.itself = node
    if n % 1_000 == 0:
        refs.append(weakref.ref(node))
assert sum(ref() is None for ref in refs[:-30]) > 150
""")


def test_building_is_not_interrupted() -> None:
    """While much is built nothing is collected; afterwards all is as it was."""
    run("""
import gc
from solver.engine.collector import uncollected
with uncollected():
    assert not gc.isenabled()
assert gc.isenabled()
gc.disable()
with uncollected():
    pass
assert not gc.isenabled()
""")
