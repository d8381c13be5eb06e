"""A page of docs/recipes: its blocks, in the order in which a developer meets them.

    ```sh                      run, all of them as one script
    ```js title="sign-in.mjs"  written to that file
    ```text output             what the sh block before it prints; `…` stands for what changes
"""

import dataclasses
import pathlib
import re

FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
TITLED = re.compile(r'[a-z]+ title="(?P<name>[\w.-]+)"')
WILDCARD = "…"


class Unclear(Exception):
    """The page is not written as its readers, and this executor, need it."""


@dataclasses.dataclass(frozen=True)
class Command:
    text: str


@dataclasses.dataclass(frozen=True)
class File:
    name: str
    text: str


@dataclasses.dataclass(frozen=True)
class Output:
    text: str

    def matches(self, printed: str) -> bool:
        """Whether this was printed, all of it and nothing else; a wildcard stays within its line."""
        parts = map(re.escape, self.text.split(WILDCARD))
        return re.fullmatch("[^\n]+".join(parts), printed) is not None


Block = Command | File | Output


def read_page(path: pathlib.Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    blocks = [_block(found["info"], found["text"]) for found in FENCE.finditer(text)]
    if 2 * len(blocks) != sum(line.startswith("```") for line in text.splitlines()):
        raise Unclear("a block is not closed")
    for before, block in zip([None, *blocks], blocks):
        if isinstance(block, Output) and not isinstance(before, Command):
            raise Unclear("an expected output does not follow its sh block")
    for kind, name in ((Command, "sh block"), (Output, "expected output")):
        if not any(isinstance(block, kind) for block in blocks):
            raise Unclear(f"it has no {name}")
    return blocks


def _block(info: str, text: str) -> Block:
    if info == "sh":
        return Command(text)
    if info == "text output":
        return Output(text)
    if titled := TITLED.fullmatch(info):
        return File(titled["name"], text)
    raise Unclear(f"nothing is known to be done with a block `{info}`")
