"""Cedalio: a nonce for nobody in particular, signed behind a text of the application's own.

StartChallenge NONCE (Basic, no address) -> VerifyChallenge with nonce, message, address and signature.
"""

from application import INVALID_MESSAGE, INVALID_REQUEST, MISMATCH, NOT_FOUND, POLICY_DENIED, Application
from caller import personal_sign
from eth_account import Account

MESSAGE = "Welcome to Cedalio!\n\nSign to enter your project.\n\nNonce: "


def run(countersign, clients: dict, transcript) -> None:
    cedalio = Application(countersign, clients, "cedalio", transcript)
    foreign = Application(countersign, clients, "bine_v2", transcript).start()
    wallet = Account.create()
    for account, message in (
        (wallet.address, lambda _nonce: MESSAGE),
        (wallet.address.lower().removeprefix("0x"), lambda nonce: MESSAGE + nonce),
    ):
        nonce = new_nonce(cedalio)
        check_refusals(cedalio, wallet, nonce, foreign.nonce)
        answer = cedalio.redeem_once(
            nonce=nonce,
            message=message(nonce),
            address=account,
            signature=personal_sign(wallet, MESSAGE + nonce),
            forged=personal_sign(Account.create(), MESSAGE + nonce),
        )
        check_token(countersign, cedalio, wallet, answer)


def new_nonce(cedalio: Application) -> str:
    challenge = cedalio.start()
    lasts = challenge.expire_time.seconds - challenge.create_time.seconds
    cedalio.transcript.equal("two minutes to sign", lasts, 120)
    said = (challenge.address, challenge.network, challenge.message)
    cedalio.transcript.equal("a nonce for nobody in particular", said, ("", "", ""))
    return challenge.nonce


def check_refusals(cedalio: Application, wallet, nonce: str, foreign: str) -> None:
    signature = personal_sign(wallet, MESSAGE + nonce)
    good = {"nonce": nonce, "message": MESSAGE, "address": wallet.address, "signature": signature}
    altered = MESSAGE.replace("enter", "sell")
    own = personal_sign(wallet, altered + nonce)
    cedalio.refused("a text of no policy", POLICY_DENIED, **good | {"message": altered, "signature": own})
    cedalio.refused("a newline less", POLICY_DENIED, **good | {"message": MESSAGE.replace("\n\n", "\n")})
    cedalio.refused("no text", INVALID_MESSAGE, **good | {"message": ""})
    cedalio.refused("no account", INVALID_REQUEST, **good | {"address": ""})
    cedalio.refused("another account", MISMATCH, **good | {"address": Account.create().address})
    own = personal_sign(wallet, MESSAGE)
    cedalio.refused("signed without the nonce", MISMATCH, **good | {"signature": own})
    other = cedalio.start().nonce
    cedalio.refused("under another nonce", MISMATCH, **good | {"nonce": other})
    own = personal_sign(wallet, MESSAGE + foreign)
    cedalio.refused("the nonce of another client", NOT_FOUND, **good | {"nonce": foreign, "signature": own})


def check_token(countersign, cedalio: Application, wallet, answer) -> None:
    project = cedalio.client["client_id"]
    _, claims = countersign.verify_access_token(answer.tokens.access_token, audience=project)
    cedalio.transcript.equal("the JWT carries the address", claims["address"], wallet.address)
    cedalio.transcript.equal("and lives 30 minutes", claims["exp"] - claims["iat"], 1800)
