"""Verdicts in a file, one a line, so that a campaign can be stopped and goes on."""

from pathlib import Path

import msgspec

from tests.mutation.mutant import Mutant
from tests.mutation.trial import Fate, Verdict


class _Row(msgspec.Struct, frozen=True):
    key: str
    fate: Fate
    killer: str


class Results:
    """The newest verdict on each mutant, by its key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._verdicts: dict[str, Verdict] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self.read()

    def read(self) -> None:
        """Take what other processes wrote; a line that was cut off is no verdict."""
        for line in self._path.read_bytes().splitlines() if self._path.exists() else ():
            try:
                row = msgspec.json.decode(line, type=_Row)
            except msgspec.DecodeError:
                continue
            self._verdicts[row.key] = Verdict(row.fate, row.killer)

    def write(self, mutant: Mutant, verdict: Verdict) -> None:
        """Remember a verdict."""
        row = msgspec.json.encode(_Row(mutant.key, verdict.fate, verdict.killer))
        with self._path.open("ab") as file:
            file.write(row + b"\n")
        self._verdicts[mutant.key] = verdict

    def clear(self) -> None:
        """Forget everything."""
        self._path.unlink(missing_ok=True)
        self._verdicts.clear()

    def fate_of(self, mutant: Mutant) -> Fate | None:
        """What became of it, if it was tried."""
        verdict = self._verdicts.get(mutant.key)
        return None if verdict is None else verdict.fate

    def killer_of(self, mutant: Mutant) -> str:
        """The test that killed it."""
        verdict = self._verdicts.get(mutant.key)
        return "" if verdict is None else verdict.killer
