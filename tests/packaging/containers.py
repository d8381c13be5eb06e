"""README's containers: what its commands do, done with processes instead."""

import collections.abc
import contextlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import urllib.parse

import agreement
import files
import processes

BLOCK = re.compile(r"^## With containers$.*?^```sh$(.*?)^```$", re.DOTALL | re.MULTILINE)


def check(binary: pathlib.Path, database_url: str, work: pathlib.Path) -> int:
    """How many services have served."""
    return Containers(binary, database_url, work).walk()


class Containers:
    """The services of docker-compose.yml, on a database of this machine."""

    def __init__(self, binary: pathlib.Path, database_url: str, work: pathlib.Path):
        self._binary = binary
        self._database_url = database_url
        self._work = work
        self._secrets = work / "secrets"
        self._compose = files.compose()
        self._image = files.image()

    def walk(self) -> int:
        """The commands of README, in their order; one that is not known here is a mistake."""
        self._image_alone_refuses()
        text = (files.ROOT / "README.md").read_text(encoding="utf-8")
        commands = [shlex.split(line, comments=True) for line in BLOCK.search(text)[1].splitlines()]
        with contextlib.ExitStack() as running:
            services: dict[str, processes.Service] = {}
            for command in filter(None, commands):
                match command:
                    case ["docker", "compose", "build"]:
                        print("README: docker compose build: not run, no engine is asked for")
                    case ["packaging/new-secrets", "docker", "run", "--rm", "countersign"]:
                        self._new_secrets()
                    case ["docker", "compose", "up", "--detach", "--wait"]:
                        services = self._up(running)
                    case ["docker", "compose", "exec", service, "countersign", *arguments]:
                        self._sign_in(services, self._program(service).output(*arguments, "--output", "json"))
                    case _:
                        raise AssertionError(f"README's {command} is not known here")
            assert services, "README starts no service"
            for name, service in services.items():
                self._stop(name, service)
            return len(services)

    def _image_alone_refuses(self) -> None:
        """Whoever runs the image has to say that its ports are protected. Were this lost, `serve` would listen."""
        image = processes.Program(self._binary, self._image.environment(), self._work)
        said = image.refusal(2, "settings")
        assert "plaintext-behind-mesh" in said and "0.0.0.0:50051" in said, said

    def _command(self, service: dict) -> list[str]:
        assert self._image.command("ENTRYPOINT") == ["countersign"]
        return service.get("command", self._image.command("CMD"))

    def _new_secrets(self) -> None:
        command = [str(files.ROOT / "packaging" / "new-secrets"), str(self._binary)]
        environment = os.environ | {"SECRETS_DIR": str(self._secrets)}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        again = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert again.returncode == 1 and "is there already" in again.stderr, again
        assert self._secrets.stat().st_mode & 0o777 == 0o700, "others may enter the folder of the secrets"
        self._use_this_database()

    def _use_this_database(self) -> None:
        """The URL that was made must be the database's of docker-compose.yml; then it becomes the test's."""
        path = self._secrets / "database-url"
        url = urllib.parse.urlsplit(path.read_text(encoding="utf-8").strip())
        postgres = self._compose["services"]["postgres"]["environment"]
        password = self._secret_file(postgres["POSTGRES_PASSWORD_FILE"], "postgres")
        assert url.password == password.read_text(encoding="utf-8").strip()
        assert url.username == postgres["POSTGRES_USER"] == url.path.lstrip("/")
        assert url.hostname == "postgres", "the database is known by the name of its service"
        path.write_text(self._database_url, encoding="utf-8")

    def _secret_file(self, path: str, service: str) -> pathlib.Path:
        """Where a path in a container leads to, if the service was given that secret."""
        name = path.removeprefix("/run/secrets/")
        assert name in self._compose["services"][service]["secrets"], f"{service} was not given {name}"
        file = self._compose["secrets"][name]["file"]
        found = pathlib.Path(file.replace("${SECRETS_DIR:-./secrets}", str(self._secrets)))
        assert found.stat().st_mode & 0o044 == 0o044, f"the containers' users cannot read {found}"
        return found

    def _program(self, service: str) -> processes.Program:
        environment = self._image.environment() | self._compose["services"][service]["environment"]
        environment["COUNTERSIGN_DATA_DIR"] = str(self._work)
        for name, value in environment.items():
            if value.startswith("/run/secrets/"):
                environment[name] = str(self._secret_file(value, service))
        return processes.Program(self._binary, environment, self._work)

    def _up(self, running: contextlib.ExitStack) -> dict[str, processes.Service]:
        services = self._compose["services"]
        first, *_ = instances = agreement.instances()
        said = self._program(first).refusal(1, *self._command(services[first]))
        assert "countersign migrate" in said, f"an instance does not wait for the schema: {said}"
        self._program("migrate").output(*self._command(services["migrate"]))
        up = {}
        for name in instances:
            program = self._program(name)
            settings = program.settings()
            end = files.seconds(settings["shutdown-delay"]) + files.seconds(settings["shutdown-timeout"])
            assert files.seconds(services[name]["stop_grace_period"]) > end + 2, f"{name} is killed before its end"
            up[name] = running.enter_context(program.serving(*self._command(services[name])))
        of_the_image = self._image.command("HEALTHCHECK")
        for name, service in up.items():
            assert services[name]["healthcheck"]["test"] == ["CMD", *of_the_image]
            service.healthcheck(*of_the_image[1:])
        assert len(up) == 2, f"two instances stand beside each other, not {list(up)}"
        return up

    def _sign_in(self, services: collections.abc.Mapping[str, processes.Service], made: str) -> None:
        for service in services.values():
            service.sign_ins(json.loads(made)["authorization"])

    def _stop(self, name: str, service: processes.Service) -> None:
        within = files.seconds(self._compose["services"][name]["stop_grace_period"])
        service.stop(self._image.values("STOPSIGNAL")[0], within)
        print(f"docker-compose.yml: {name} served with its settings, and ended in time")
