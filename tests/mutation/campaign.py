"""Trying many mutants: most in forks of one session, what runs at import in one of its own."""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from tests.mutation.mutant import Mutant
from tests.mutation.patch import Finder, caches, live_functions, put_into
from tests.mutation.reach import Reach, measure
from tests.mutation.result import Results
from tests.mutation.scope import MODULES, RESULTS, folder_of
from tests.mutation.session import Tests, in_session
from tests.mutation.trial import Fate, Verdict, judged, within

Say = Callable[[Verdict], NoReturn]

_REACH: Final = RESULTS.with_name("reach.msgpack")


class Campaign:
    """The mutants that are to be tried, and how much CPU each of them is worth."""

    def __init__(
        self, *, results: Results, seed: int, seconds_max: float, workers: int, live: bool
    ) -> None:
        self._results = results
        self._seed = seed
        self._seconds_max = seconds_max
        self._workers = workers
        self._live = live
        """Whether what needs a process of its own is left for later."""

    def run(self, mutants: Sequence[Mutant]) -> None:
        """Try them all; the verdicts are in the results."""
        _fork_and_wait(lambda: self._in_one_session(mutants))
        if self._live:
            return
        reach = msgspec.msgpack.decode(_REACH.read_bytes(), type=Reach)
        self._results.read()
        rest = [one for one in mutants if self._results.fate_of(one) is Fate.POSTPONED]
        self._share(rest, lambda one: self._alone(one, reach))

    def _in_one_session(self, mutants: Sequence[Mutant]) -> None:
        if not in_session(lambda tests: self._try_all(tests, mutants), self._seed):
            raise SystemExit("the tests could not be collected")

    def _try_all(self, tests: Tests, mutants: Sequence[Mutant]) -> None:
        _fork_and_wait(lambda: _measure(tests, _REACH))
        reach = msgspec.msgpack.decode(_REACH.read_bytes(), type=Reach)
        functions = {module: live_functions(module) for module in MODULES}
        memory = caches()
        gc.freeze()

        def try_one(mutant: Mutant) -> Verdict:
            names = reach.tests_of(mutant.module, mutant.lines)
            if not reach.is_watched(mutant.module, mutant.lines):
                return Verdict(Fate.POSTPONED)
            code = mutant.code()

            def work(say: Say) -> None:
                if not put_into(functions[mutant.module], code, mutant.function):
                    say(Verdict(Fate.POSTPONED))
                for cache in memory:
                    cache.cache_clear()
                self._hold_against(tests, names, reach, say)

            return judged(work)

        self._share(mutants, try_one)

    def _alone(self, mutant: Mutant, reach: Reach) -> Verdict:
        """In a process that has not imported the module yet, by the tests of its package."""
        code = mutant.code()
        part = mutant.module.split(".")[-1]

        def work(say: Say) -> None:
            Finder(mutant.module, code).install()
            within(20.0, lambda: say(Verdict(Fate.TIMED_OUT, "import")))

            def hold(tests: Tests) -> None:
                names = sorted(
                    (name for name in tests.names if name in reach.seconds),
                    key=lambda name: (part not in name, reach.seconds[name], name),
                )
                self._hold_against(tests, names, reach, say)

            if not in_session(hold, self._seed, (folder_of(mutant.module),)):
                say(Verdict(Fate.KILLED, "import"))

        return judged(work)

    def _hold_against(self, tests: Tests, names: list[str], reach: Reach, say: Say) -> None:
        """Run tests until one fails, or until this mutant has cost enough."""
        spent = 0.0
        for name in names:
            spent += reach.seconds[name]
            if spent > self._seconds_max and spent > reach.seconds[name]:
                continue
            within(reach.seconds[name], lambda: say(Verdict(Fate.TIMED_OUT, name)))  # noqa: B023
            if not tests.passes(name):
                say(Verdict(Fate.KILLED, name))
        say(Verdict(Fate.SURVIVED))

    def _share(self, mutants: Sequence[Mutant], judge: Callable[[Mutant], Verdict]) -> None:
        """Divide the mutants among processes; each writes its verdicts down as it goes."""

        def work(first: int) -> None:
            for count, mutant in enumerate(mutants[first :: self._workers]):
                self._results.write(mutant, judge(mutant))
                if not first and count % 50 == 0:
                    done = min(len(mutants), count * self._workers)
                    sys.stderr.write(f"{done} of {len(mutants)}\n")

        _fork_and_wait(*[lambda first=first: work(first) for first in range(self._workers)])


def _measure(tests: Tests, path: Path) -> None:
    known = msgspec.msgpack.decode(path.read_bytes(), type=Reach) if path.exists() else None
    reach = measure(tests.names, tests.passes, MODULES, known)
    path.write_bytes(msgspec.msgpack.encode(reach))


def _fork_and_wait(*works: Callable[[], None]) -> None:
    """Do each in a process of its own, all at once."""
    children = []
    for work in works:
        child = os.fork()
        if not child:
            status = 1
            try:
                work()
                status = 0
            except BaseException as error:  # noqa: BLE001  said here, as the fork ends here
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
            finally:
                os._exit(status)
        children.append(child)
    for child in children:
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit("a process of the campaign failed")
