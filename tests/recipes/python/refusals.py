"""What every caller meets when something is wrong: a code, a reason for machines, and the field."""

import uuid

from caller import basic, refused
from countersign.v1 import challenge_pb2, session_pb2
from eth_account import Account

MALFORMED = {
    "empty": "",
    "short": "0x1234",
    "no hex": "0x" + "zz" * 20,
    "a wrong checksum": "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "the zero address": "0x" + "00" * 20,
}


def run(countersign, clients: dict, transcript) -> None:
    bad_credentials(countersign, clients["ratio"], clients["brine"]["client_secret"], transcript)
    bad_addresses(countersign, clients["brine"], transcript)


def bad_credentials(countersign, client: dict, foreign_secret: str, transcript) -> None:
    start = countersign.challenges.StartChallenge
    request = challenge_pb2.StartChallengeRequest(address=Account.create().address)
    transcript.equal(
        "the ready header is Basic of id and secret",
        client["authorization"],
        basic(client["client_id"], client["client_secret"]),
    )
    refused(transcript, "no credentials", "UNAUTHENTICATED", "CREDENTIALS_MISSING", start, request)
    invalid = ("UNAUTHENTICATED", "CLIENT_CREDENTIALS_INVALID", start, request)
    unknown = refused(
        transcript, "an unknown client", *invalid, basic(str(uuid.uuid4()), client["client_secret"])
    )
    # Another client's, so that it is well formed and the comparison itself must refuse it.
    wrong = refused(transcript, "a wrong secret", *invalid, basic(client["client_id"], foreign_secret))
    transcript.equal("the two cannot be told apart", wrong, unknown)


def bad_addresses(countersign, client: dict, transcript) -> None:
    for name, address in MALFORMED.items():
        got = refused(
            transcript,
            f"StartChallenge, address {name}",
            "INVALID_ARGUMENT",
            "INVALID_ADDRESS",
            countersign.challenges.StartChallenge,
            challenge_pb2.StartChallengeRequest(address=address),
            client["authorization"],
        )
        transcript.equal("the violation names the field", got.fields, ("address",))
        got = refused(
            transcript,
            f"CreateSession, address {name}",
            "INVALID_ARGUMENT",
            "INVALID_ADDRESS",
            countersign.sessions.CreateSession,
            session_pb2.CreateSessionRequest(signing_address=address, signing_network="ETHEREUM"),
            client["authorization"],
        )
        transcript.equal("the violation names the field", got.fields, ("signing_address",))
