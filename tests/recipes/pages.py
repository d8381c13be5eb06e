"""Does what each page of docs/recipes tells a developer to do, word for word, in an empty folder.

    pages.py --binary PATH --store sqlite|postgres [--node DIR] [PAGE]...

The pages use the ports 50051 to 50053, as everybody's first try does. `postgres` needs
COUNTERSIGN_TEST_DATABASE_URL, and gives each page a database of its own. Nothing is downloaded: `npm`
and `pip` stand in for the real ones, and install only what the recipes pin (tests/recipes/bin).
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time

import page
import run

ROOT = run.HERE.parent.parent
PAGES = ROOT / "docs/recipes"
PORTS = (8545, 50051, 50052, 50053)
PORT_SECONDS = 60
PAGE_SECONDS = 180
STOP_SECONDS = 20

# At its end a developer closes the terminal, and what runs in it ends.
CLOSE = "trap 'kill $(jobs -pr) 2>/dev/null || true; wait' EXIT\n"


class Failed(Exception):
    """A page does not do what it says."""


def main() -> int:
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    check_index()
    failed = [path.name for path in options.pages if not passes(path, options)]
    for name in failed:
        print(f"FAILED: docs/recipes/{name} on {options.store}", file=sys.stderr)
    print(f"{len(options.pages) - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


def read_options() -> argparse.Namespace:
    parser = run.options_parser(__doc__)
    parser.add_argument("pages", nargs="*", type=pathlib.Path, default=all_pages(), metavar="PAGE")
    return parser.parse_args()


def all_pages() -> list[pathlib.Path]:
    return sorted(path for path in PAGES.glob("*.md") if path.name != "README.md")


def check_index() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in all_pages() if f"({path.name})" not in index]
    if missing:
        sys.exit(f"docs/recipes/README.md does not lead to {', '.join(missing)}")


def passes(path: pathlib.Path, options: argparse.Namespace) -> bool:
    print(f"-- {path.name} on {options.store}", flush=True)
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="countersign-page-")))
        walk = Walk(work, options)
        try:
            blocks = page.read_page(path)
            settings = stack.enter_context(SETTINGS[options.store](work, options.binary))
            walk.run(blocks, settings)
        except (Failed, page.Unclear) as error:
            walk.show()
            print(f"   {error}", file=sys.stderr)
            return False
    outputs = sum(isinstance(block, page.Output) for block in blocks)
    print(f"   {len(blocks)} blocks, {outputs} outputs as expected, {time.monotonic() - start:.0f} s", flush=True)
    return True


@contextlib.contextmanager
def sqlite_settings(_work: pathlib.Path, _binary: pathlib.Path):
    yield {}


@contextlib.contextmanager
def postgres_settings(work: pathlib.Path, binary: pathlib.Path):
    root_keys = work / "root-keys"
    root_keys.touch(mode=0o600)
    with root_keys.open("wb") as file:
        subprocess.run([binary, "keys", "new-root"], stdout=file, check=True, timeout=run.READY_SECONDS)
    with run.postgres_store(work) as url:
        yield {
            "COUNTERSIGN_DATABASE_URL": url,
            "COUNTERSIGN_ROOT_KEYS_FILE": str(root_keys),
            "COUNTERSIGN_MIGRATE": "true",
        }


SETTINGS = {"sqlite": sqlite_settings, "postgres": postgres_settings}


class Walk:
    """One page, from an empty folder on."""

    def __init__(self, work: pathlib.Path, options: argparse.Namespace):
        self._work = work
        self._node = options.node.resolve()
        self._home = work / "home"
        self._blocks = work / "blocks"
        self._errors = work / "stderr"
        for folder in (self._home, self._blocks, work / "bin"):
            folder.mkdir()
        (work / "bin/countersign").symlink_to(options.binary.resolve())

    def run(self, blocks: list[page.Block], settings: dict[str, str]) -> None:
        wait_for_ports()
        script = self._write_script(blocks)
        environment = self._environment() | settings
        with self._errors.open("wb") as errors:
            shell = subprocess.Popen(
                ["bash", "-euo", "pipefail", script],
                cwd=self._home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        try:
            status = shell.wait(PAGE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"it is not through after {PAGE_SECONDS} seconds") from None
        finally:
            end_group(shell)
        if status != 0 or not self._printed(len(blocks)).exists():
            raise Failed(f"a command failed, or ended the shell: exit status {status}")
        self._compare(blocks)

    def _write_script(self, blocks: list[page.Block]) -> str:
        """The page as a script; what each of its blocks prints goes to a file of its own."""
        lines = [CLOSE]
        for number, block in enumerate(blocks):
            match block:
                case page.Command(text):
                    lines.append(f"exec >'{self._printed(number)}'\n{text}")
                case page.File(name, text):
                    written = self._blocks / f"{number}.file"
                    written.write_text(text, encoding="utf-8")
                    lines.append(f"cp '{written}' '{name}'\n")
        lines.append(f"exec >'{self._printed(len(blocks))}'\n")
        script = self._work / "script"
        script.write_text("".join(lines), encoding="utf-8")
        return str(script)

    def _printed(self, number: int) -> pathlib.Path:
        return self._blocks / f"{number}.printed"

    def _environment(self) -> dict[str, str]:
        # A developer has none of our settings, and no activated environment of Python.
        kept = {k: v for k, v in os.environ.items() if not k.startswith("COUNTERSIGN_")}
        path = [str(run.HERE / "bin"), str(self._work / "bin"), os.environ["PATH"]]
        return kept | {
            "PATH": os.pathsep.join(path),
            "HOME": str(self._home),
            "CHECKOUT": str(ROOT),
            "STAND_IN_PYTHON": sys.executable,
            "STAND_IN_NODE": str(self._node),
            "STAND_IN_SITE_PACKAGES": sysconfig.get_path("purelib"),
        }

    def _compare(self, blocks: list[page.Block]) -> None:
        for number, block in enumerate(blocks):
            if isinstance(block, page.Output):
                printed = self._printed(number - 1).read_text(encoding="utf-8")
                if not block.matches(printed):
                    raise Failed(f"expected:\n{block.text}   printed:\n{printed}")

    def show(self) -> None:
        """What a developer would see, for whoever has to find out."""
        logs = [*sorted(self._blocks.glob("*.printed"), key=lambda path: int(path.stem)), self._errors]
        for path in [*logs, *sorted(self._home.glob("*.log"))]:
            if path.exists() and (text := path.read_text(encoding="utf-8", errors="replace")):
                print(f"-- {path.name}", *text.splitlines()[-30:], sep="\n", file=sys.stderr)


def wait_for_ports() -> None:
    """The system lends these ports to outgoing connections, too; such a one is gone after a moment."""
    deadline = time.monotonic() + PORT_SECONDS
    for port in PORTS:
        while not can_listen(port):
            if time.monotonic() > deadline:
                raise Failed(f"port {port} is taken, and the pages need it")
            time.sleep(0.2)


def can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def end_group(shell: subprocess.Popen) -> None:
    """Ends what the page left running: politely, then not."""
    deadline = time.monotonic() + STOP_SECONDS
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, sent)
        while group_lives(shell) and time.monotonic() < deadline:
            time.sleep(0.05)
    shell.wait()


def group_lives(shell: subprocess.Popen) -> bool:
    shell.poll()
    try:
        os.killpg(shell.pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
