"""Starts what docker-compose.yml and the unit start, as processes of this machine.

Environment and command are read from the files. Replaced are only paths of a container or of systemd, and
addresses: no engine and no systemd is needed, and nothing listens but on loopback.
"""

import collections.abc
import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import threading

START_SECONDS = 60
COMMAND_SECONDS = 60
LISTENING = {"gRPC listening": "GRPC", "HTTP listening": "HTTP", "operations listening": "OPERATIONS"}


class Program:
    """The program in one environment, with nothing else of this process's own."""

    def __init__(self, binary: pathlib.Path, environment: dict[str, str], folder: pathlib.Path):
        self._binary = binary
        self._folder = folder
        self.environment = {"PATH": os.environ["PATH"], **environment}

    def ended(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        """Runs a command to its end."""
        return subprocess.run(
            [str(self._binary), *arguments],
            env=self.environment | (environment or {}),
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    def output(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """What a command prints, which must succeed."""
        done = self.ended(*arguments, environment=environment)
        assert done.returncode == 0, f"{arguments}: exit status {done.returncode}: {done.stderr}"
        return done.stdout

    def refusal(self, status: int, *arguments: str) -> str:
        """What a command says that must fail."""
        done = self.ended(*arguments)
        assert done.returncode == status, f"{arguments}: exit status {done.returncode}: {done.stderr}"
        return done.stderr

    def settings(self) -> dict[str, str]:
        """The settings in force, which must all be legal."""
        lines = self.output("settings").splitlines()
        return {words[0]: words[1] for words in (line.split() for line in lines)}

    @contextlib.contextmanager
    def serving(self, *arguments: str) -> collections.abc.Iterator["Service"]:
        """Serves on loopback, at ports that the system chooses."""
        local = {f"COUNTERSIGN_{port}_LISTEN": "127.0.0.1:0" for port in LISTENING.values()}
        process = subprocess.Popen(
            [str(self._binary), *arguments],
            env=self.environment | local,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Service(self, process)
        finally:
            process.kill()
            process.wait()


class Service:
    """A running service, and where it listens."""

    def __init__(self, program: Program, process: subprocess.Popen):
        self._program = program
        self._process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._log: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.addresses = self._addresses()

    def _read(self) -> None:
        for line in self._process.stderr:
            self._lines.put(line)
        self._lines.put(None)

    def _addresses(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while len(found) < len(LISTENING):
            line = self._lines.get(timeout=START_SECONDS)
            assert line is not None, f"the service has ended: {''.join(self._log)}"
            self._log.append(line)
            assert "is no setting" not in line, line
            fields = json.loads(line)["fields"]
            if fields.get("message") in LISTENING:
                found[LISTENING[fields["message"]]] = fields["address"]
        return found

    def healthcheck(self, *command: str) -> None:
        """Asks as the container would: its own environment says that operations listen on every address."""
        port = self.addresses["OPERATIONS"].rsplit(":", 1)[1]
        environment = {"COUNTERSIGN_OPERATIONS_LISTEN": f"0.0.0.0:{port}"}
        for _ in range(10):
            done = self._program.ended(*command, environment=environment)
            # A busy machine may have answered too late.
            if "within 2s" not in done.stderr:
                break
        assert done.returncode == 0 and "is ready" in done.stdout, done

    def sign_ins(self, authorization: str) -> None:
        """Real sign-ins and refreshes over gRPC."""
        few = ["--sign-ins", "8", "--refreshes", "8", "--concurrency", "2"]
        environment = {"COUNTERSIGN_BENCH_AUTHORIZATION": authorization}
        said = self._program.output(
            "bench", "--target", self.addresses["GRPC"], *few, environment=environment
        )
        assert "sign-ins" in said and "refreshes" in said, said

    def stop(self, signal_name: str, within: float) -> None:
        """Ends it as its supervisor does: by the signal, and in the time that is given there."""
        self._process.send_signal(signal.Signals[signal_name])
        status = self._process.wait(within)
        assert status == 0, f"{signal_name} ended the service with exit status {status}"
