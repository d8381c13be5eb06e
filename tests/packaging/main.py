"""Checks the Dockerfile, docker-compose.yml and the systemd unit without an engine and without systemd running.

    main.py --binary PATH

Linters and schemas read them; they are compared with the sources, the program and each other; and what they
start is started, as processes, on a database of COUNTERSIGN_TEST_DATABASE_URL. No image is built.
"""

import argparse
import itertools
import pathlib
import sys
import tempfile

import agreement
import containers
import lint
import systemd

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "recipes"))

import run as recipes  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the built `countersign`")
    binary = parser.parse_args().binary.resolve()
    checks = [*lint.check(), *agreement.check(binary)]
    for fault in itertools.chain(*checks):
        print(f"packaging: {fault}", file=sys.stderr)
    if any(checks):
        return 1
    with tempfile.TemporaryDirectory(prefix="countersign-packaging-") as folder:
        work = pathlib.Path(folder)
        with recipes.postgres_store(work) as database_url:
            served = containers.check(binary, database_url, work)
        systemd.check(binary, work)
    print(f"{len(checks) + served + 1} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
