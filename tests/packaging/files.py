"""What stands in the Dockerfile, docker-compose.yml and the systemd unit, as plain values."""

import dataclasses
import json
import pathlib
import re
import shlex

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
UNIT = ROOT / "packaging" / "countersign.service"


@dataclasses.dataclass
class Stage:
    """One stage of a Dockerfile: what it starts from, and its other instructions in their order."""

    base: str
    instructions: list[tuple[str, str]]

    def values(self, name: str) -> list[str]:
        return [text for instruction, text in self.instructions if instruction == name]

    def environment(self) -> dict[str, str]:
        pairs = [word for text in self.values("ENV") for word in shlex.split(text)]
        return dict(pair.split("=", 1) for pair in pairs)

    def command(self, name: str) -> list[str]:
        """The words of ENTRYPOINT, CMD or HEALTHCHECK, which stand there as JSON."""
        (text,) = self.values(name)
        return json.loads(text[text.index("[") :])


def stages(text: str) -> list[Stage]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            found.append(Stage(rest, []))
        elif name and found:
            found[-1].instructions.append((name, rest.strip()))
    return found


def image() -> Stage:
    """The last stage, which is the image."""
    return stages(DOCKERFILE.read_text(encoding="utf-8"))[-1]


def compose(text: str | None = None) -> dict:
    return yaml.safe_load(text or COMPOSE.read_text(encoding="utf-8"))


def unit(text: str | None = None) -> dict[str, list[str]]:
    """The [Service] section: every value of every name."""
    text = text or UNIT.read_text(encoding="utf-8")
    section = text.partition("[Service]")[2].partition("\n[")[0]
    found: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


def seconds(text: str) -> float:
    """A length of time as all three write it: 500ms, 20s, 1m."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    parts = re.findall(r"(\d+)(ms|s|m|h)", text)
    assert parts and "".join(a + b for a, b in parts) == text, f"{text} is no length of time"
    return sum(int(number) * units[name] for number, name in parts)
