"""Runs every recipe, in Python, against a running server: `main.py SETUP.json`."""

import json
import pathlib
import sys

import bine
import brine
import cedalio
import ratio
import refusals
import retries
import siwe
from caller import Countersign
from transcript import Transcript

RECIPES = {
    "ratio": ratio.run,
    "brine": brine.run,
    "cedalio": cedalio.run,
    "bine v1": bine.run_v1,
    "bine v2": bine.run_v2,
    "siwe": siwe.run,
    "refusals": refusals.run,
    "retries": retries.run,
}


def main() -> int:
    setup = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    transcript = Transcript(f"python {setup['store']}")
    with Countersign(setup) as countersign:
        try:
            for transcript.recipe, run in RECIPES.items():
                run(countersign, setup["clients"], transcript)
        except Exception as why:  # an unexpected refusal is a failed check like any other
            transcript.broken(why)
    transcript.close()
    return 1 if transcript.failed else 0


if __name__ == "__main__":
    sys.exit(main())
