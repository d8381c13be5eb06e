"""Lines of Rust in src/ without comments, blank lines and unit tests, in all and by module.

    python3 tests/measure/lines_of_code.py [COMMIT]     the work tree, or a commit

A unit test is a file named tests.rs, or whatever follows `#[cfg(test)]` in a file.
"""

import collections
import pathlib
import subprocess
import sys


def sources(commit: str | None) -> dict[str, str]:
    if commit is None:
        return {str(path): path.read_text(encoding="utf-8") for path in pathlib.Path("src").rglob("*.rs")}
    listed = subprocess.check_output(["git", "ls-tree", "-r", "--name-only", commit, "src"], text=True)
    show = lambda path: subprocess.check_output(["git", "show", f"{commit}:{path}"], text=True)
    return {path: show(path) for path in listed.splitlines() if path.endswith(".rs")}


def code(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("#[cfg(test)]")[0].splitlines()]
    return [line for line in lines if line and not line.startswith("//")]


def main() -> None:
    counts: collections.Counter[str] = collections.Counter()
    for path, text in sources(sys.argv[1] if len(sys.argv) > 1 else None).items():
        if not path.endswith("/tests.rs"):
            counts[path.split("/")[1].removesuffix(".rs")] += len(code(text))
    for module, count in sorted(counts.items()):
        print(f"{count:6} {module}")
    print(f"{counts.total():6} in all")


if __name__ == "__main__":
    main()
