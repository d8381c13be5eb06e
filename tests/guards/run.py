"""Removes guards from the sources one at a time, and expects the tests to fail each time.

    ./check postgres -- python3 tests/guards/run.py [NAME]...

Works on a copy of the last commit. A guard that two stores have is removed from both, and cases have to fail on both.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from guards import GUARDS, Guard

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
FAILED = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$", re.MULTILINE)


def copy_sources(tree: Path) -> None:
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)


def remove(guard: Guard, tree: Path) -> dict[Path, str]:
    """Removes a guard from the sources; returns the previous text of each file."""
    before = {}
    for name, guarded, unguarded in guard.edits:
        path = tree / name
        text = path.read_text()
        if text.count(guarded) != 1:
            sys.exit(f"{guard.name}: {name} has {text.count(guarded)} times, not once: {guarded}")
        before.setdefault(path, text)
        path.write_text(text.replace(guarded, unguarded))
    return before


def run_tests(guard: Guard, tree: Path) -> tuple[set[str], str]:
    """The cases that fail, and the whole output."""
    target = ["--lib"] if guard.suite == "lib" else ["--test", guard.suite]
    command = ["cargo", "test", "--locked", *target, "--", *guard.cases]
    # A build folder of its own: cargo must not take one tree's generated code for the other's.
    environment = os.environ | {"CARGO_TARGET_DIR": str(TARGET / "guards"), "CARGO_INCREMENTAL": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return set(FAILED.findall(done.stdout)), done.stdout


def shortfall(guard: Guard, failed: set[str]) -> str:
    """The stores on which no case failed; empty if there is none."""
    stores = {store for store in ("on_sqlite", "on_postgres") if any(f"::{store}::" in case for case in failed)}
    if guard.stores:
        return " ".join(sorted(set(guard.stores) - stores))
    return "" if failed else "any"


def main() -> None:
    names = sys.argv[1:] or [guard.name for guard in GUARDS]
    unknown = set(names) - {guard.name for guard in GUARDS}
    if unknown:
        sys.exit(f"no guard is named {', '.join(sorted(unknown))}")
    caught = missed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_sources(tree)
        for guard in (guard for guard in GUARDS if guard.name in names):
            began = time.monotonic()
            before = remove(guard, tree)
            failed, output = run_tests(guard, tree)
            for path, text in before.items():
                path.write_text(text)
            missing = shortfall(guard, failed)
            if missing:
                print("\n".join(output.splitlines()[-30:]))
            missed += bool(missing)
            caught += not missing
            result = f"MISSED ({missing})" if missing else "caught"
            print(f"{time.monotonic() - began:5.0f} s  {result}  {guard.name}: {len(failed)} cases fail", flush=True)
    print(f"{caught} passed, {missed} failed")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
