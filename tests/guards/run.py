"""Removes guards from the sources one at a time, and expects their tests to fail.

    ./check postgres -- python3 tests/guards/run.py [NAME]...

Works on a copy of the last commit. The suites run once on the unchanged copy, where all must pass. Without a guard its
case must fail on each store that has the guard, while other cases of that file pass: a statement that is merely broken
fails them all.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from guards import GUARDS, Guard

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "guards"
TREE = TARGET / "tree"
RESULT = re.compile(r"^test (\S+) \.\.\. (ok|FAILED)$", re.MULTILINE)
# A suite without a guard may wait for what never comes.
TIMEOUT = 900


def copy_sources() -> None:
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", TREE], input=archive, check=True)


def remove(guard: Guard) -> dict[Path, str]:
    """Removes a guard from the sources; returns the previous text of each file."""
    before = {}
    for name, guarded, unguarded in guard.edits:
        path = TREE / name
        text = path.read_text()
        if text.count(guarded) != 1:
            sys.exit(f"{guard.name}: {name} has {text.count(guarded)} times, not once: {guarded}")
        before.setdefault(path, text)
        path.write_text(text.replace(guarded, unguarded))
    return before


def cargo(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A build folder of its own: cargo must not take one tree's generated code for the other's.
    environment = os.environ | {"CARGO_TARGET_DIR": str(TARGET), "CARGO_INCREMENTAL": "1"}
    command = ["cargo", "test", "--locked", *arguments]
    return subprocess.run(
        command, cwd=TREE, env=environment, timeout=TIMEOUT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def results(suite: str, modules: set[str]) -> dict[str, bool]:
    """Whether each case of some modules of a suite passes."""
    build = cargo("--test", suite, "--no-run")
    if build.returncode:
        sys.exit(f"{suite} does not compile:\n{build.stdout}")
    run = cargo("--test", suite, "--", *(f"{module}::on_" for module in sorted(modules)))
    found = {case: result == "ok" for case, result in RESULT.findall(run.stdout)}
    return {case: passes for case, passes in found.items() if case.split("::")[0] in modules}


def shortfall(guard: Guard, found: dict[str, bool]) -> str:
    """What is not as it must be without the guard; empty if nothing."""
    for store in guard.stores:
        if found.get(f"{guard.module}::{store}::{guard.case}", True):
            return f"its case does not fail {store}"
        if not any(passes for case, passes in found.items() if f"::{store}::" in case):
            return f"every case fails {store}"
    return ""


def check_unchanged(guards: list[Guard]) -> None:
    for suite in sorted({guard.suite for guard in guards}):
        own = [guard for guard in guards if guard.suite == suite]
        found = results(suite, set().union(*(guard.modules for guard in own)))
        wrong = sorted(case for case, passes in found.items() if not passes)
        cases = (f"{guard.module}::{store}::{guard.case}" for guard in own for store in guard.stores)
        wrong += sorted(f"{case} is not there" for case in cases if case not in found)
        if wrong:
            sys.exit("with every guard in place:\n" + "\n".join(wrong))


def main() -> None:
    chosen = [guard for guard in GUARDS if guard.name in sys.argv[1:]] if sys.argv[1:] else list(GUARDS)
    unknown = set(sys.argv[1:]) - {guard.name for guard in GUARDS}
    if unknown:
        sys.exit(f"no guard is named {', '.join(sorted(unknown))}")
    copy_sources()
    check_unchanged(chosen)
    missed = 0
    for guard in chosen:
        began = time.monotonic()
        before = remove(guard)
        found = results(guard.suite, guard.modules)
        for path, text in before.items():
            path.write_text(text)
        wrong = shortfall(guard, found)
        missed += bool(wrong)
        failed = sum(not passes for passes in found.values())
        outcome = f"MISSED ({wrong})" if wrong else "caught"
        print(f"{time.monotonic() - began:5.0f} s  {outcome}  {guard.name}: {failed} of {len(found)} fail", flush=True)
    print(f"{len(chosen) - missed} passed, {missed} failed")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
