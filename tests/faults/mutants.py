"""Bugs planted on purpose, each with the test that must catch it: the tests themselves are tested (S2).

`python -m tests.faults.mutants [NAME …]` plants each in a process of its own, runs its test there, and prints one JSON
line for it. A bug is an edit of a module's source, made while the module is imported; where the text to edit is not
there exactly once the bug is stale, which is a failure like one that is not caught.
"""

import ast
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

ROOT: Final = Path(__file__).parents[2]
# What a planted bug may cost to find.
LONGEST_S: Final = 60

# What was imported before cannot be rewritten, and need not be: it is not ours.
_QUIET: Final = "ignore::pytest.PytestAssertRewriteWarning"
# The plugins that the tests need; loading all that is installed takes twice as long as finding a bug.
_PLUGINS: Final = ("_hypothesis_pytestplugin", "anyio.pytest_plugin")

Verdict = Literal["caught", "not caught", "stale", "too slow", "no verdict"]


class Edit(msgspec.Struct, frozen=True):
    """In this module, `old` becomes `new`."""

    module: str
    old: str
    new: str


class Mutant(msgspec.Struct, frozen=True):
    """A planted bug. `caught_by` is a pytest node, or `seeds 1-20` of the simulation."""

    name: str
    edits: tuple[Edit, ...]
    caught_by: str


class Outcome(msgspec.Struct, frozen=True):
    """What became of a mutant."""

    name: str
    verdict: Verdict
    caught_by: str
    seconds: float
    cpu_s: float
    output: str = ""


class StaleError(Exception):
    """The text that a mutant edits is not there, or more than once."""


class Planted(importlib.abc.MetaPathFinder):
    """Imports the modules of a mutant with their edits."""

    def __init__(self, mutant: Mutant) -> None:
        self._sources = edited_sources(mutant.edits)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Ours, if it is one of the edited modules."""
        if fullname not in self._sources:
            return None
        file = source_file(fullname)
        return importlib.util.spec_from_file_location(fullname, file, loader=_Loader(fullname, self._sources[fullname]))


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, source: str) -> None:
        super().__init__(fullname, str(source_file(fullname)))
        self._source = source

    def get_code(self, fullname: str) -> Any:
        return compile(self._source, self.path, "exec")


def source_file(module: str) -> Path:
    """Where a module of ours is."""
    return ROOT / f"{module.replace('.', '/')}.py"


def edited_sources(edits: Sequence[Edit]) -> dict[str, str]:
    """Module → its source with all of its edits; StaleError where one does not fit."""
    sources: dict[str, str] = {}
    for edit in edits:
        source = sources.get(edit.module) or source_file(edit.module).read_text()
        if source.count(edit.old) != 1:
            raise StaleError(f"{edit.module} has {source.count(edit.old)} times {edit.old!r} (expected once)")
        sources[edit.module] = source.replace(edit.old, edit.new)
    for module, source in sources.items():
        ast.parse(source, module)
    return sources


def run_detector(detector: str) -> int:
    """0 if what must catch the bug found nothing, 1 if it did."""
    if detector.startswith("seeds "):
        from tests.simulation.run import simulate

        first, _, last = detector.removeprefix("seeds ").partition("-")
        for seed in range(int(first), int(last) + 1):
            wrong = simulate(seed).wrong
            if wrong:
                print(f"seed {seed}: {wrong}")
                return 1
        return 0
    return run_pytest("--no-header", detector)


def run_pytest(*arguments: str) -> int:
    """pytest's exit status of these tests, up to the first that fails."""
    import pytest

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = [option for name in _PLUGINS for option in ("-p", name)]
    return int(pytest.main(["-x", "-q", *plugins, "-p", "no:cacheprovider", "-W", _QUIET, *arguments]))


def try_mutant(mutant: Mutant | None, detector: str, name: str) -> Outcome:
    """Plant it (None: nothing) in a child of this process, and let its detector look."""
    started_s = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            os._exit(_in_child(mutant, detector, output.fileno()))
        _, status, usage = os.wait4(child, 0)
        output.seek(0)
        said = output.read()[-1500:].decode(errors="replace")
    verdict: Verdict = "no verdict"
    if os.WIFSIGNALED(status):
        verdict = "too slow" if os.WTERMSIG(status) == signal.SIGALRM else "no verdict"
    else:
        verdict = {0: "not caught", 1: "caught", 70: "stale"}.get(os.WEXITSTATUS(status), "no verdict")  # type: ignore[assignment]
    seconds, cpu_s = time.monotonic() - started_s, usage.ru_utime + usage.ru_stime
    return Outcome(name, verdict, detector, round(seconds, 1), round(cpu_s, 1), "" if verdict == "caught" else said)


def _in_child(mutant: Mutant | None, detector: str, output: int) -> int:
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(ROOT)
        # Processor time, not the clock on the wall: a busy machine finds bugs no worse, only later.
        signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
        signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), signal.SIGALRM))
        if mutant is not None:
            sys.meta_path.insert(0, Planted(mutant))
        status = run_detector(detector)
        sys.stdout.flush()
        return status
    except StaleError as error:
        print(error, flush=True)
        return 70
    except BaseException:  # noqa: BLE001  a child that must not return into its parent's code
        traceback.print_exc()
        sys.stderr.flush()
        return 3


def import_what_is_not_ours() -> None:
    """Libraries that take long to import, once for all children."""
    for library in (
        "aiosqlite", "alembic.config", "anyio.pytest_plugin", "asyncpg", "cryptography.fernet", "cv2", "httpx",
        "hypothesis.strategies", "litestar", "msgspec", "numpy", "paho.mqtt.client", "pytest", "sqlalchemy.ext.asyncio",
        "sqlite_utils", "structlog", "zxingcpp",
    ):  # fmt: skip
        importlib.import_module(library)
    # They stay: no child's collector looks through them again.
    gc.freeze()


def _unharmed(detectors: set[str]) -> int:
    """Whether the tests that must find something find nothing where no bug is planted, in a process like theirs."""
    return run_pytest(*sorted(one for one in detectors if not one.startswith("seeds ")))


def main(names: Sequence[str]) -> int:
    """Try these mutants, or all; 1 if any was not caught."""
    from tests.faults.mutants_table import MUTANTS

    import_what_is_not_ours()
    if names == ["--unharmed"]:
        return _unharmed({mutant.caught_by for mutant in MUTANTS})
    wanted = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    missed = 0
    for mutant in wanted:
        outcome = try_mutant(mutant, mutant.caught_by, mutant.name)
        missed += outcome.verdict != "caught"
        print(msgspec.json.encode(outcome).decode(), flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
