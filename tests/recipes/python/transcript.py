"""One line per check; the first that does not hold ends the run."""


class Failed(Exception):
    """A check did not hold."""


class Transcript:
    """Prints what was checked, and counts it."""

    def __init__(self, who: str):
        self.who = who
        self.recipe = ""
        self.passed = 0
        self.failed = 0

    def equal(self, what: str, got, expected) -> None:
        self.holds(what, got == expected, f"got {got!r}, expected {expected!r}")

    def holds(self, what: str, truth: bool, otherwise: object = "it does not hold") -> None:
        if not truth:
            raise Failed(f"{what}: {otherwise}")
        self.passed += 1
        print(f"ok      {self.who} {self.recipe}: {what}", flush=True)

    def broken(self, why: Exception) -> None:
        self.failed += 1
        print(f"FAILED  {self.who} {self.recipe}: {why}", flush=True)

    def close(self) -> None:
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
