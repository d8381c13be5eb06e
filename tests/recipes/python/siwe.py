"""Sign-In with Ethereum: the server writes the EIP-4361 text out of the policy, the wallet signs it.

StartChallenge SIWX (Basic) -> VerifyChallenge by id.
"""

import datetime

from application import (
    INVALID_ADDRESS,
    INVALID_MESSAGE,
    INVALID_REQUEST,
    MISMATCH,
    NOT_FOUND,
    POLICY_DENIED,
    Application,
)
from caller import personal_sign
from eth_account import Account


def run(countersign, clients: dict, transcript) -> None:
    siwe = Application(countersign, clients, "siwe", transcript)
    wallet = Account.create()
    only_what_is_listed(siwe, wallet)

    usual = siwe.start(address=wallet.address.lower())
    expected = text("shop.example", wallet, 1, usual)
    transcript.equal("the text, out of the policy's first entries", usual.message, expected)
    first = sign_in(siwe, wallet, usual)

    asked = siwe.start(
        address=wallet.address,
        network="POLYGON",
        domain="shop.example:8443",
        resources=["https://shop.example/cart"],
        request_id="order-7",
    )
    expected = text("shop.example:8443", wallet, 137, asked)
    expected += "\nRequest ID: order-7\nResources:\n- https://shop.example/cart"
    transcript.equal("the text, as it was asked for", asked.message, expected)
    second = sign_in(siwe, wallet, asked)
    transcript.equal("of that chain", second.verification.network, "eip155:137")
    transcript.equal("the account is one on every chain", second.account.id, first.account.id)


def only_what_is_listed(siwe: Application, wallet) -> None:
    for asked in (
        {"domain": "evil.example"},
        {"uri": "https://evil.example/login"},
        {"statement": "I give everything away."},
        {"resources": ["https://evil.example/cart"]},
    ):
        name = next(iter(asked))
        siwe.start_refused(f"a text with another {name}", POLICY_DENIED, address=wallet.address, **asked)
    siwe.start_refused("a text for nobody", INVALID_ADDRESS)


def sign_in(siwe: Application, wallet, challenge):
    good = personal_sign(wallet, challenge.message)
    altered = challenge.message.replace("accept the terms", "take the debts")
    own = personal_sign(wallet, altered)
    named = {"challenge_id": challenge.id}
    stranger = Account.create().address
    siwe.refused("signed an altered text", MISMATCH, **named, signature=own)
    siwe.refused("and sent it", INVALID_MESSAGE, **named, signature=own, message=altered)
    siwe.refused("another address", INVALID_ADDRESS, **named, signature=good, address=stranger)
    other = siwe.start(address=wallet.address)
    siwe.refused("another challenge", MISMATCH, challenge_id=other.id, signature=good)
    siwe.refused("another nonce", INVALID_REQUEST, **named, nonce=other.nonce, signature=good)
    siwe.refused("a nonce of nobody", NOT_FOUND, nonce="A" * 22, signature=good)
    forged = personal_sign(Account.create(), challenge.message)
    return siwe.redeem_once(**named, message=challenge.message, signature=good, forged=forged)


def text(domain: str, wallet, chain: int, challenge) -> str:
    """EIP-4361, word for word; the two times are those of the challenge."""
    return "\n".join(
        (
            f"{domain} wants you to sign in with your Ethereum account:",
            wallet.address,
            "",
            "I accept the terms of the shop.",
            "",
            "URI: https://shop.example/login",
            "Version: 1",
            f"Chain ID: {chain}",
            f"Nonce: {challenge.nonce}",
            f"Issued At: {rfc_3339(challenge.create_time)}",
            f"Expiration Time: {rfc_3339(challenge.expire_time)}",
        )
    )


def rfc_3339(timestamp) -> str:
    moment = datetime.datetime.fromtimestamp(timestamp.seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
