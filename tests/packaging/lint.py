"""What linters and schemas say about the files, each shown to find faults that are planted."""

import collections.abc
import pathlib
import shutil
import subprocess
import tempfile

import files

Faults = list[str]

# What `systemd-analyze security` may score at most, in tenths: 100 is the worst. It says 1.1 of the unit; other
# releases of systemd look at a little more or less.
EXPOSURE = 13
HARDENING = ["CapabilityBoundingSet=", "DynamicUser=yes", "RestrictNamespaces=yes"]


def run(*command: object, cwd: pathlib.Path | None = None) -> Faults:
    """What a validator prints, if it is not content."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return [done.stdout.strip() or f"exit status {done.returncode}"] if done.returncode else []


def written(name: str, text: str, validate: collections.abc.Callable[[pathlib.Path], Faults]) -> Faults:
    with tempfile.TemporaryDirectory(prefix="countersign-packaging-") as folder:
        path = pathlib.Path(folder) / name
        path.write_text(text, encoding="utf-8")
        return validate(path)


def dockerfile(text: str) -> Faults:
    return written("Dockerfile", text, lambda path: run("hadolint", "--failure-threshold", "style", path))


def compose_schema(text: str) -> Faults:
    """The schema of the Compose Specification, which check-jsonschema brings along."""
    check = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    return written("docker-compose.yml", text, lambda path: run(*check, path))


def compose_names(text: str) -> Faults:
    """Names that the schema does not follow: of services, secrets and volumes."""
    compose = files.compose(text)
    faults = []
    for name, service in compose["services"].items():
        volumes = [volume.split(":")[0] for volume in service.get("volumes", [])]
        for kind, named in [
            ("services", service.get("depends_on", {})),
            ("secrets", service.get("secrets", [])),
            ("volumes", [volume for volume in volumes if not volume.startswith((".", "/"))]),
        ]:
            faults += [f"{name} names no {kind}: {one}" for one in named if one not in compose.get(kind, {})]
    return faults


def compose_program(text: str) -> Faults:
    """`docker compose` itself, where it is: it needs no engine for this."""
    command = ("docker", "compose", "--project-directory", files.ROOT, "--file")
    return written("docker-compose.yml", text, lambda path: run(*command, path, "config", "--quiet"))


def unit(text: str) -> Faults:
    """systemd's own reading. Names that it does not know are warnings to it, and faults here."""

    def validate(path: pathlib.Path) -> Faults:
        command = ["systemd-analyze", "verify", "--man=no", str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        mine = [line for line in done.stdout.splitlines() if path.name in line]
        return mine or ([done.stdout] if done.returncode else [])

    # The program need not be installed here.
    there = text.replace("/usr/local/bin/countersign", "/bin/true")
    return written("countersign.service", there, validate)


def unit_exposure(text: str) -> Faults:
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}")
    return written("countersign.service", text, lambda path: run(*command, path))


def validators() -> list[tuple[collections.abc.Callable[[str], Faults], pathlib.Path, list[tuple[str, str]]]]:
    """Each validator, what it validates, and faults to plant: a text that stands there, and its replacement."""
    found = [
        (
            dockerfile,
            files.DOCKERFILE,
            [
                ('ENTRYPOINT ["countersign"]', "ENTRYPOINT countersign"),
                ("USER 65532:65532", "USER root"),
                ("EXPOSE 50051", "EXPOSE 500510"),
                (":nonroot", ":latest"),
                ("WORKDIR /build", "WORKDIR build"),
                ("COPY proto", "COPPY proto"),
            ],
        ),
        (
            compose_schema,
            files.COMPOSE,
            [
                ("stop_grace_period:", "stop_grace:"),
                ("condition: service_healthy", "condition: service_fine"),
                ("retries: 15", "retries: [15]"),
                ("command: [migrate]", "command: {migrate: }"),
            ],
        ),
        (
            compose_names,
            files.COMPOSE,
            [
                ("    depends_on:\n      postgres:", "    depends_on:\n      postgresql:"),
                ("secrets: [database-password]", "secrets: [password]"),
                ("\n  postgres-data:\n", "\n  data:\n"),
            ],
        ),
    ]
    if shutil.which("docker") and not run("docker", "compose", "version"):
        found.append((compose_program, files.COMPOSE, [("secrets: [database-password]", "secrets: [password]")]))
    else:
        print("SKIPPED: docker compose config (no docker compose here; the schema was asked)")
    if shutil.which("systemd-analyze"):
        typing_errors = [("ProtectSystem=", "ProtectSystm="), ("Restart=on-failure", "Restart=onfailure")]
        found.append((unit, files.UNIT, [*typing_errors, ("ExecStart=/usr", "ExecStart=usr")]))
        found.append((unit_exposure, files.UNIT, [(f"{line}\n", "") for line in HARDENING]))
    else:
        print("SKIPPED: systemd-analyze (not here)")
    return found


def check() -> list[Faults]:
    """The faults that each validator has found in a file, and in what it says of each planted fault."""
    found = []
    for validate, path, planted in validators():
        text = path.read_text(encoding="utf-8")
        found.append([f"{path.name}: {fault}" for fault in validate(text)])
        for there, instead in planted:
            assert there in text, f"{path.name} has no `{there}` to plant a fault in"
            missed = f"{validate.__name__} does not mind `{instead}` for `{there}` in {path.name}"
            found.append([] if validate(text.replace(there, instead, 1)) else [missed])
        print(f"{path.name}: {validate.__name__} is content, and finds {len(planted)} planted faults")
    return found
