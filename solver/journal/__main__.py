"""`python -m solver.journal <data folder>`: take a snapshot, beside a market that may run.

Exit code 0: there is one of everything that was durable. 1: it could not be made or kept.
70: replay does not lead to what the market noted, or the journal is damaged.
"""

import os
import sys
from pathlib import Path
from typing import Final

from solver.core.check import Violation
from solver.journal.fault import JournalCorrupt, JournalFault
from solver.journal.recovery import take_snapshot

DIFFERS: Final = 70


def main(data_dir: str) -> int:
    """Take a snapshot; say why not on standard error."""
    os.nice(10)
    try:
        take_snapshot(Path(data_dir))
    except (Violation, JournalCorrupt) as error:
        sys.stderr.write(f"{error}\n")
        return DIFFERS
    except (JournalFault, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
