"""`keyfill` with a planted bug: it acknowledges before the disk has it.

Records are written a second late, as if group commit answered first. The crash test must
find it out.
"""

import threading
import time
from collections.abc import Sequence

from solver.cli import main
from solver.journal import Journal

_write = Journal.append
_queue: list[bytes] = []
_lock = threading.Lock()


def _append_later(journal: Journal, payloads: Sequence[bytes]) -> int:
    with _lock:
        first = not _queue
        _queue.extend(payloads)
    if first:
        threading.Thread(target=_flush, args=(journal,), daemon=True).start()
    return journal.seq + len(_queue)


def _flush(journal: Journal) -> None:
    time.sleep(1)
    with _lock:
        _write(journal, list(_queue))
        _queue.clear()


Journal.append = _append_later  # type: ignore[method-assign, assignment]

if __name__ == "__main__":
    main()
