"""Bine: typed data in its first version, a text that the caller composes in its second.

v1: StartChallenge TYPED_DATA (Basic) -> eth_signTypedData_v4 -> VerifyChallenge by nonce.
v2: StartChallenge NONCE (Basic, no address) -> an EIP-4361 text -> VerifyChallenge with the text.
"""

import copy
import json

from application import (
    INVALID_ADDRESS,
    INVALID_MESSAGE,
    MISMATCH,
    NOT_FOUND,
    POLICY_DENIED,
    Application,
    forms_of,
)
from caller import personal_sign
from eth_account import Account
from eth_account.messages import encode_typed_data

DOMAIN = {
    "name": "Bine",
    "version": "1",
    "chainId": 137,
    "verifyingContract": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
}


def run_v1(countersign, clients: dict, transcript) -> None:
    bine = Application(countersign, clients, "bine_v1", transcript)
    wallet = Account.create()
    for form in ("65 bytes", "EIP-2098"):
        data = sign_data(bine, wallet)
        nonce = str(data["message"]["noonce"])
        check_refusals_v1(bine, wallet, data, nonce)
        answer = bine.redeem_once(
            address=wallet.address,
            nonce=nonce,
            signature=forms_of(typed_sign(wallet, data))[form],
            forged=typed_sign(Account.create(), data),
        )
        verified = (answer.verification.address, answer.verification.network)
        transcript.equal(f"signed in with {form}", verified, (wallet.address, "eip155:137"))


def sign_data(bine: Application, wallet) -> dict:
    # Wallets sign typed data only while they are on the chain of its domain.
    challenge = bine.start(address=wallet.address.lower(), network="POLYGON")
    data = json.loads(challenge.typed_data_json)
    bine.transcript.equal("no text beside the typed data", challenge.message, "")
    bine.transcript.equal("what is signed", data["primaryType"], "AuthMessage")
    bine.transcript.equal("the domain of the policy", data["domain"], DOMAIN)
    message = {"address": wallet.address, "noonce": int(challenge.nonce)}
    bine.transcript.equal("address and noonce, a number", data["message"], message)
    bine.transcript.holds("that JavaScript reads exactly", message["noonce"] < 2**53)
    return data


def check_refusals_v1(bine: Application, wallet, data: dict, nonce: str) -> None:
    other = sign_data(bine, wallet)
    for part, name, value in (
        ("domain", "name", "Evil"),
        ("domain", "chainId", 1),
        ("domain", "verifyingContract", wallet.address),
        ("message", "address", Account.create().address),
        ("message", "noonce", other["message"]["noonce"]),
    ):
        altered = copy.deepcopy(data)
        altered[part][name] = value
        signature = typed_sign(wallet, altered)
        bine.refused(f"signed with another {part} {name}", MISMATCH, nonce=nonce, signature=signature)
    as_text = personal_sign(wallet, json.dumps(data, separators=(",", ":")))
    bine.refused("signed as a text", MISMATCH, nonce=nonce, signature=as_text)
    good = typed_sign(wallet, data)
    bine.refused("under no nonce of ours", NOT_FOUND, nonce="1", signature=good)
    stranger = Account.create().address
    bine.refused("for another address", INVALID_ADDRESS, nonce=nonce, address=stranger, signature=good)


def typed_sign(wallet, data: dict) -> str:
    return wallet.sign_message(encode_typed_data(full_message=data)).signature.hex()


def run_v2(countersign, clients: dict, transcript) -> None:
    bine = Application(countersign, clients, "bine_v2", transcript)
    foreign = Application(countersign, clients, "cedalio", transcript).start().nonce
    wallet = Account.create()
    nonce = bine.start().nonce
    check_refusals_v2(bine, wallet, nonce, foreign)
    text = compose(wallet.address, nonce)
    answer = bine.redeem_once(
        message=text,
        signature="0x" + personal_sign(wallet, text),
        forged=personal_sign(Account.create(), text),
    )
    verified = (answer.verification.address, answer.verification.network)
    transcript.equal("address and chain are those of the text", verified, (wallet.address, "eip155:137"))
    _, claims = countersign.verify_access_token(
        answer.tokens.access_token, audience=bine.client["client_id"]
    )
    transcript.equal("so are they in the token", (claims["address"], claims["network"]), verified)


def check_refusals_v2(bine: Application, wallet, nonce: str, foreign: str) -> None:
    text = compose(wallet.address, nonce)
    other = bine.start().nonce
    lower, stranger = wallet.address.lower(), Account.create().address
    for what, expected, altered in (
        ("another domain", POLICY_DENIED, text.replace("bine.example", "evil.example", 1)),
        ("a port at the domain", POLICY_DENIED, text.replace("bine.example", "bine.example:1", 1)),
        ("another URI", POLICY_DENIED, text.replace("/login", "/logout")),
        ("another statement", POLICY_DENIED, text.replace("Sign in to", "Sell")),
        ("a resource", POLICY_DENIED, text + "\nResources:\n- https://bine.example/all"),
        ("another nonce", INVALID_MESSAGE, text.replace(nonce, other)),
        ("a nonce of another client", INVALID_MESSAGE, text.replace(nonce, foreign)),
        ("no checksum in the address", INVALID_MESSAGE, text.replace(wallet.address, lower)),
        ("another version", INVALID_MESSAGE, text.replace("Version: 1", "Version: 2")),
        ("an end that is over", INVALID_MESSAGE, text + "\nExpiration Time: 2026-01-01T00:00:00Z"),
        ("a newline at its end", INVALID_MESSAGE, text + "\n"),
        ("another address", MISMATCH, text.replace(wallet.address, stranger)),
    ):
        signature = personal_sign(wallet, altered)
        bine.refused(f"a text with {what}", expected, nonce=nonce, message=altered, signature=signature)
    later = text.replace("00:00.000Z", "00:01.000Z")
    bine.refused("altered after signing", MISMATCH, message=later, signature=personal_sign(wallet, text))
    alien = compose(wallet.address, foreign)
    own = personal_sign(wallet, alien)
    bine.refused("a nonce of another client, alone", NOT_FOUND, message=alien, signature=own)


def compose(address: str, nonce: str) -> str:
    """EIP-4361, as an application puts it together."""
    return "\n".join(
        (
            "bine.example wants you to sign in with your Ethereum account:",
            address,
            "",
            "Sign in to Bine.",
            "",
            "URI: https://bine.example/login",
            "Version: 1",
            "Chain ID: 137",
            f"Nonce: {nonce}",
            "Issued At: 2026-01-01T00:00:00.000Z",
        )
    )
