"""`keyfill` with a planted bug: it acknowledges before the disk has it.

Records are written a second late, as if group commit answered first. The crash test must
find it out.
"""

import threading
import time

from solver.cli import main
from solver.engine.group import Group
from solver.journal import Journal

_write = Journal.append
_queue: list[Group] = []
_lock = threading.Lock()


def _append_later(journal: Journal, group: Group) -> int:
    with _lock:
        first = not _queue
        _queue.append(group)
    if first:
        threading.Thread(target=_flush, args=(journal,), daemon=True).start()
    return journal.seq + sum(waiting.commands for waiting in _queue)


def _flush(journal: Journal) -> None:
    time.sleep(1)
    with _lock:
        for group in _queue:
            _write(journal, group)
        _queue.clear()


Journal.append = _append_later  # type: ignore[method-assign, assignment]

if __name__ == "__main__":
    main()
