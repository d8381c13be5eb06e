"""Whether the files agree with the sources, with the program and with each other."""

import pathlib
import subprocess

import files

# What gcr.io/distroless/cc has besides the loader.
LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1"}
# The releases of Debian, as Rust's images and distroless call them.
DEBIAN = {"bookworm": "debian12", "trixie": "debian13", "forky": "debian14"}

Faults = list[str]


def check(binary: pathlib.Path) -> list[Faults]:
    """The faults that each check has found."""
    return [
        stages_are_the_same_debian(),
        every_source_is_copied(binary),
        nothing_else_reaches_the_builder(),
        libraries_are_in_the_image(binary),
        ports_are_the_ones_that_listen(),
        published_on_loopback_only(),
    ]


def stages_are_the_same_debian() -> Faults:
    build, image = files.stages(files.DOCKERFILE.read_text(encoding="utf-8"))
    same = [name for name, number in DEBIAN.items() if name in build.base and number in image.base]
    return [] if same else [f"{build.base} and {image.base} are not the same Debian"]


def copied() -> list[str]:
    """What the builder gets of the working copy, by the Dockerfile."""
    build = files.stages(files.DOCKERFILE.read_text(encoding="utf-8"))[0]
    return sorted(source for text in build.values("COPY") for source in text.split()[:-1])


def every_source_is_copied(binary: pathlib.Path) -> Faults:
    """By cargo's own list of what the program was made from."""
    listed = pathlib.Path(f"{binary}.d").read_text(encoding="utf-8").partition(": ")[2].split()
    sources = [pathlib.Path(path) for path in listed]
    ours = [path.relative_to(files.ROOT) for path in sources if path.is_relative_to(files.ROOT)]
    assert len(ours) > 50, f"{binary}.d names only {len(ours)} sources"
    generated = pathlib.Path(binary).parents[1]
    missing = [
        path for path in ours if not (files.ROOT / path).is_relative_to(generated) and path.parts[0] not in copied()
    ]
    return [f"the Dockerfile does not copy {path}" for path in missing]


def nothing_else_reaches_the_builder() -> Faults:
    lines = (files.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    wanted = ["*", *(f"!{path}" for path in copied())]
    return [] if rules == wanted else [f".dockerignore is not {wanted}, what the Dockerfile copies, but {rules}"]


def libraries_are_in_the_image(binary: pathlib.Path) -> Faults:
    listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True).stdout
    needed = {line.split()[0] for line in listed.splitlines() if "=>" in line}
    assert "libc.so.6" in needed, f"ldd was not understood: {listed}"
    return [f"the image does not have {library}" for library in sorted(needed - LIBRARIES)]


def ports_are_the_ones_that_listen() -> Faults:
    image = files.image()
    listening = {value.rsplit(":", 1)[1] for name, value in image.environment().items() if name.endswith("_LISTEN")}
    exposed = set(image.values("EXPOSE")[0].split())
    faults = [] if exposed == listening else [f"EXPOSE says {exposed}, and {listening} listen"]
    for name, service in instances().items():
        inner = {port.rsplit(":", 1)[1] for port in service["ports"]}
        if not inner < listening:
            faults.append(f"{name} publishes {inner}, of which not all listen: {listening}")
    return faults


def published_on_loopback_only() -> Faults:
    services = files.compose()["services"]
    ports = [(name, port) for name, service in services.items() for port in service.get("ports", [])]
    assert len(ports) > 3, "docker-compose.yml publishes less than it did"
    return [f"{name} publishes {port} to everybody" for name, port in ports if not port.startswith("127.0.0.1:")]


def instances() -> dict:
    """The services that serve."""
    services = files.compose()["services"]
    return {name: service for name, service in services.items() if name.startswith("countersign")}
