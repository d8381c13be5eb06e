"""An application that signs wallets in: its two calls, and what holds for every signature."""

from caller import call, refused
from countersign.v1 import challenge_pb2

NOT_FOUND = ("NOT_FOUND", "CHALLENGE_NOT_FOUND")
USED = ("FAILED_PRECONDITION", "CHALLENGE_ALREADY_USED")
MISMATCH = ("UNAUTHENTICATED", "SIGNATURE_MISMATCH")
POLICY_DENIED = ("PERMISSION_DENIED", "POLICY_DENIED")
INVALID_ADDRESS = ("INVALID_ARGUMENT", "INVALID_ADDRESS")
INVALID_MESSAGE = ("INVALID_ARGUMENT", "INVALID_MESSAGE")
INVALID_REQUEST = ("INVALID_ARGUMENT", "INVALID_REQUEST")
INVALID_SIGNATURE = ("INVALID_ARGUMENT", "INVALID_SIGNATURE_ENCODING")

# The order of secp256k1 (SEC 2, section 2.4.1).
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


class Application:
    """One client of Countersign, with its credentials."""

    def __init__(self, countersign, clients: dict, name: str, transcript):
        self.client = clients[name]
        self.transcript = transcript
        self._challenges = countersign.challenges
        self._another = clients["ratio"]

    def start(self, **fields):
        request = challenge_pb2.StartChallengeRequest(**fields)
        return call(self._challenges.StartChallenge, request, self.client["authorization"]).challenge

    def start_refused(self, what: str, expected: tuple[str, str], **fields) -> None:
        request = challenge_pb2.StartChallengeRequest(**fields)
        start = self._challenges.StartChallenge
        refused(self.transcript, what, *expected, start, request, self.client["authorization"])

    def refused(self, what: str, expected: tuple[str, str], authorization: str = "", **fields) -> None:
        request = challenge_pb2.VerifyChallengeRequest(**fields)
        authorization = authorization or self.client["authorization"]
        verify = self._challenges.VerifyChallenge
        refused(self.transcript, what, *expected, verify, request, authorization)

    def redeem_once(self, *, signature: str, forged: str, **fields):
        """Signs in by a good signature: bad ones are refused before it, and every one after it."""
        forms = forms_of(signature)
        another = self._another["authorization"]
        self.refused("another wallet's signature", MISMATCH, **fields, signature=forged)
        self.refused("v changed", MISMATCH, **fields, signature=forms["v changed"])
        self.refused("the high s", INVALID_SIGNATURE, **fields, signature=forms["the high s"])
        self.refused("another client", NOT_FOUND, another, **fields, signature=signature)

        request = challenge_pb2.VerifyChallengeRequest(**fields, signature=signature)
        answer = call(self._challenges.VerifyChallenge, request, self.client["authorization"])
        self.refused("the same again", USED, **fields, signature=signature)
        for name in ("65 bytes", "v of 0 or 1", "EIP-2098"):
            self.refused(f"spent, and again as {name}", USED, **fields, signature=forms[name])
        return answer


def forms_of(signature: str) -> dict[str, str]:
    """Every form of an EVM signature, by name; the last two are not of its signer's making."""
    r, s, v = split(signature)
    return {
        "65 bytes": f"{r:064x}{s:064x}{27 + v:02x}",
        "v of 0 or 1": f"{r:064x}{s:064x}{v:02x}",
        "EIP-2098": f"{r:064x}{v << 255 | s:064x}",
        "v changed": f"{r:064x}{s:064x}{28 - v:02x}",
        "the high s": f"{r:064x}{ORDER - s:064x}{28 - v:02x}",
    }


def split(signature: str) -> tuple[int, int, int]:
    """r, s and the parity of y, out of 65 bytes or out of 64 after EIP-2098."""
    digits = signature.removeprefix("0x")
    r, s = int(digits[:64], 16), int(digits[64:128], 16)
    if len(digits) == 128:
        return r, s & ((1 << 255) - 1), s >> 255
    return r, s, int(digits[128:], 16) % 27
