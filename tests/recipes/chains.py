"""The EVM chains of a run: nodes that only this machine reaches, and endpoints that do not answer."""

import contextlib
import dataclasses
import pathlib
import socket
import subprocess
import sys
import threading

STOP_SECONDS = 20
LISTENING = "Listening on "
# EIP-7702, by which a plain account gets code, came with this fork.
HARDFORK = "prague"


@dataclasses.dataclass
class Chains:
    """What the tests ask the nodes by, and what the server is told of them."""

    nodes: dict[str, str]
    endpoints: list[tuple[str, str]]


@contextlib.contextmanager
def running_chains(packages: pathlib.Path, work: pathlib.Path):
    """Starts a node for each of three chains, and ends them with the run, whatever becomes of it.

    Two endpoints of chain 100 are of no use, before the third. Of the other chains, 56 is said to be where
    chain 1 is, 43114 is down, 250 never answers, and 137 is left out.
    """
    with contextlib.ExitStack() as stack:
        nodes = {chain: stack.enter_context(running_node(packages, work, chain)) for chain in ("1", "10", "100")}
        down = stack.enter_context(endpoint_that_is_down())
        silent = stack.enter_context(endpoint_that_never_answers())
        endpoints = [("1", nodes["1"]), ("10", nodes["10"])]
        endpoints += [("100", down), ("100", nodes["1"]), ("100", nodes["100"])]
        endpoints += [("56", nodes["1"]), ("43114", down), ("250", silent)]
        yield Chains(nodes, [(f"eip155:{chain}", url) for chain, url in endpoints])


@contextlib.contextmanager
def running_node(packages: pathlib.Path, work: pathlib.Path, chain: str):
    command = [anvil(packages), "--host", "127.0.0.1", "--port", "0", "--chain-id", chain]
    command += ["--hardfork", HARDFORK]
    node = subprocess.Popen(
        command,
        cwd=work,
        # It keeps files of its own in the home folder.
        env={"HOME": str(work)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield f"http://{address_of(node)}"
    finally:
        node.terminate()
        try:
            node.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()


def anvil(packages: pathlib.Path) -> str:
    # npm would link to the right one of these by a script of the package, and no such script is run.
    found = list((packages / "node_modules/@foundry-rs").glob("anvil-*/bin/anvil"))
    if len(found) != 1:
        sys.exit(f"one anvil must be installed for this platform, and there are {len(found)}")
    return str(found[0])


def address_of(node: subprocess.Popen) -> str:
    """The address that the node says it listens on; the rest of what it says is passed over."""
    said = []
    for line in node.stdout:
        said.append(line)
        if line.startswith(LISTENING):
            threading.Thread(target=pass_over, args=(node.stdout,), daemon=True).start()
            return line.removeprefix(LISTENING).strip()
    sys.exit(f"a node ended at once: {''.join(said)}")


def pass_over(lines) -> None:
    for _ in lines:
        pass


@contextlib.contextmanager
def endpoint_that_is_down():
    # Bound and not listening, so that nobody else gets the port, and whoever connects is refused.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield url_of(held)


@contextlib.contextmanager
def endpoint_that_never_answers():
    # The system accepts connections for it, and nobody ever reads them.
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield url_of(held)


def url_of(held: socket.socket) -> str:
    return f"http://127.0.0.1:{held.getsockname()[1]}"
