"""Runs the recipes of every client against a real server on a fresh store.

    run.py --binary PATH --store sqlite|postgres

`postgres` makes a database of its own on the server of COUNTERSIGN_TEST_DATABASE_URL, and drops it.
`./check` runs this with the Python and the Node.js that it installed.
"""

import argparse
import contextlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

import grpc
import pg8000.native

from chains import Chains, running_chains

HERE = pathlib.Path(__file__).resolve().parent
PROTOS = HERE.parent.parent / "proto"
ISSUER = "https://issuer.example"
LANGUAGES = ("python", "node")
READY_SECONDS = 60
STOP_SECONDS = 60
CLIENT_SECONDS = 300
LISTENING = {"gRPC listening": "grpc", "HTTP listening": "http"}


def main() -> int:
    options = read_options()
    # So that whatever was started is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="countersign-recipes-")))
        store_url = stack.enter_context(STORES[options.store](work))
        chains = stack.enter_context(running_chains(options.node, work))
        program = Program(options.binary.resolve(), store_url, work, chains)
        server = stack.enter_context(program.serving())
        for language in LANGUAGES:
            setup = program.setup(language, options.store, server)
            if CLIENTS[language](setup, options.node) != 0:
                program.print_log()
                return 1
    return 0


def read_options() -> argparse.Namespace:
    return options_parser(__doc__).parse_args()


def options_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the built `countersign`")
    parser.add_argument("--store", choices=STORES, required=True)
    parser.add_argument(
        "--node",
        type=pathlib.Path,
        default=os.environ.get("COUNTERSIGN_TEST_NODE"),
        help="the folder of node_modules; by default what COUNTERSIGN_TEST_NODE says, which `./check` sets",
    )
    return parser


@contextlib.contextmanager
def sqlite_store(work: pathlib.Path):
    yield f"sqlite:{work / 'countersign.db'}"


@contextlib.contextmanager
def postgres_store(_work: pathlib.Path):
    server_url = os.environ.get("COUNTERSIGN_TEST_DATABASE_URL")
    if not server_url:
        sys.exit("COUNTERSIGN_TEST_DATABASE_URL is not set; `./check postgres -- COMMAND` sets it")
    name = f"countersign_recipes_{secrets.token_hex(6)}"
    administer(server_url, f"CREATE DATABASE {name}")
    try:
        yield urllib.parse.urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def administer(server_url: str, statement: str) -> None:
    url = urllib.parse.urlsplit(server_url)
    connection = pg8000.native.Connection(
        user=urllib.parse.unquote(url.username or "postgres"),
        password=urllib.parse.unquote(url.password or ""),
        host=url.hostname,
        port=url.port or 5432,
        database=url.path.lstrip("/") or "postgres",
    )
    with contextlib.closing(connection):
        connection.run(statement)


STORES = {"sqlite": sqlite_store, "postgres": postgres_store}


class Program:
    """The `countersign` program on one store, seen only through its command line."""

    def __init__(self, binary: pathlib.Path, store_url: str, work: pathlib.Path, chains: Chains):
        self._binary = binary
        self._work = work
        self._chains = chains
        self._log = work / "server.log"
        # The program is told everything here: a developer's own settings must not leak in.
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("COUNTERSIGN_")}
        self._environment["COUNTERSIGN_DATABASE_URL"] = store_url
        self._environment["COUNTERSIGN_OPERATIONS_LISTEN"] = "127.0.0.1:0"
        self._needs_root_keys = store_url.startswith("postgres")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._binary, *arguments],
            cwd=self._work,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=READY_SECONDS,
        )
        if done.returncode != 0:
            raise SystemExit(f"`countersign {' '.join(arguments)}` ended with {done.returncode}")
        return done.stdout

    @contextlib.contextmanager
    def serving(self):
        """Starts the server, waits until it is healthy, and stops it as an operator would."""
        arguments = ["serve", "--migrate", "--issuer", ISSUER, "--log-format", "json"]
        arguments += ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
        for chain, url in self._chains.endpoints:
            arguments += ["--chain-rpc", f"{chain}={url}"]
        if self._needs_root_keys:
            arguments += ["--root-keys-file", self._new_root_keys()]
        with self._log.open("wb") as log:
            server = subprocess.Popen(
                [self._binary, *arguments],
                cwd=self._work,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            addresses = self._wait_until_healthy(server)
            yield addresses
        finally:
            self._stop(server)

    def _new_root_keys(self) -> str:
        path = self._work / "root.keys"
        path.touch(mode=0o600)
        path.write_text(self.run("keys", "new-root"), encoding="utf-8")
        return str(path)

    def _wait_until_healthy(self, server: subprocess.Popen) -> dict[str, str]:
        """Where it listens, at ports that the system chose."""
        deadline = time.monotonic() + READY_SECONDS
        while len(addresses := self._addresses()) < len(LISTENING) or not is_serving(addresses["grpc"]):
            if server.poll() is not None or time.monotonic() > deadline:
                self.print_log()
                sys.exit(f"the server did not become healthy within {READY_SECONDS} seconds, or ended")
            time.sleep(0.05)
        return addresses

    def _addresses(self) -> dict[str, str]:
        """Those that the log tells so far; its last line may not be whole yet."""
        *lines, _ = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        told = [json.loads(line)["fields"] for line in lines if line.startswith("{")]
        return {LISTENING[one["message"]]: one["address"] for one in told if one.get("message") in LISTENING}

    def _stop(self, server: subprocess.Popen) -> None:
        if server.poll() is not None:
            sys.exit(f"the server ended by itself, with exit status {server.returncode}")
        server.terminate()
        try:
            status = server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            status = server.wait()
        if status != 0:
            self.print_log()
            sys.exit(f"SIGTERM must end the server with exit status 0, not {status}")

    def print_log(self) -> None:
        print("-- the end of the server's log", file=sys.stderr)
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]:
            print(line, file=sys.stderr)

    def setup(self, language: str, store: str, addresses: dict) -> pathlib.Path:
        """Makes the clients of one language, and writes down all that its recipes need to know."""
        clients = {}
        for policy in sorted((HERE / "policies").glob("*.json")):
            name = f"{policy.stem} in {language}"
            arguments = ["client", "create", "--name", name, "--role", "SIGN_IN"]
            arguments += ["--policy-file", str(policy), "--output", "json"]
            clients[policy.stem] = json.loads(self.run(*arguments))
        path = self._work / f"{language}.json"
        setup = {"store": store, "issuer": ISSUER, "protos": str(PROTOS), "clients": clients, **addresses}
        setup |= {"nodes": self._chains.nodes, "contracts": str(HERE / "contracts")}
        path.write_text(json.dumps(setup), encoding="utf-8")
        return path


def is_serving(address: str) -> bool:
    """grpc.health.v1, in its wire form: an empty request, and `status = SERVING` as field 1."""
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            return check(b"", timeout=1, wait_for_ready=True) == b"\x08\x01"
        except grpc.RpcError:
            return False


def run_python(setup: pathlib.Path, _node: pathlib.Path) -> int:
    stubs = setup.parent / "stubs"
    stubs.mkdir()
    protos = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "countersign").rglob("*.proto"))
    generate = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    generate += [f"--python_out={stubs}", f"--grpc_python_out={stubs}", *protos]
    subprocess.run(generate, check=True)
    environment = os.environ | {"PYTHONPATH": str(stubs), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(HERE / "python/main.py"), str(setup)]
    return subprocess.run(command, env=environment, timeout=CLIENT_SECONDS).returncode


def run_node(setup: pathlib.Path, node: pathlib.Path) -> int:
    # An ES module finds its packages from its own folder upwards.
    sources = setup.parent / "node" / "recipes"
    shutil.copytree(HERE / "node", sources)
    (setup.parent / "node" / "node_modules").symlink_to(node.resolve() / "node_modules")
    return subprocess.run(["node", str(sources / "main.mjs"), str(setup)], timeout=CLIENT_SECONDS).returncode


CLIENTS = {"python": run_python, "node": run_node}


if __name__ == "__main__":
    sys.exit(main())
