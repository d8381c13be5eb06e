"""Ratio: a backend creates the session, and a device without a secret signs in.

CreateSession (Basic) -> StartChallenge TEXT (session token) -> VerifyChallenge by address (session token).
"""

from caller import call, personal_sign, refused
from countersign.v1 import challenge_pb2, session_pb2
from eth_account import Account

MAIN_NET = "eip155:1"


def run(countersign, clients: dict, transcript) -> None:
    client = clients["ratio"]
    wallet = Account.create()

    first = sign_in(countersign, client, wallet, "ETHEREUM", transcript)
    transcript.equal("the first sign-in makes the account", first.account.created, True)

    again = sign_in(countersign, client, wallet, "EVM", transcript)
    transcript.equal("the second sign-in finds the account", again.account.created, False)
    transcript.equal("the account's id is the same", again.account.id, first.account.id)
    transcript.holds("the session is another", again.session.id != first.session.id)


def sign_in(countersign, client: dict, wallet, network: str, transcript):
    session, token = create_session(countersign, client, wallet, network, transcript)
    device = f"Bearer {token}"
    challenge = start_challenge(countersign, device, wallet, network, transcript)

    stranger = challenge_pb2.VerifyChallengeRequest(
        address=wallet.address, signature=personal_sign(Account.create(), challenge.message)
    )
    verify = countersign.challenges.VerifyChallenge
    refused(
        transcript,
        "another wallet's signature",
        "UNAUTHENTICATED",
        "SIGNATURE_MISMATCH",
        verify,
        stranger,
        device,
    )

    request = challenge_pb2.VerifyChallengeRequest(
        address=wallet.address, signature="0x" + personal_sign(wallet, challenge.message)
    )
    answer = call(verify, request, device)
    transcript.equal("the right one still signs in", answer.session.state, session_pb2.SESSION_STATE_ACTIVE)
    transcript.equal("it is the session that was created", answer.session.id, session.id)
    transcript.equal(
        "verified as", verified(answer.verification), ("VERIFICATION_METHOD_EOA", wallet.address, MAIN_NET)
    )

    refused(
        transcript,
        "the same signature again",
        "FAILED_PRECONDITION",
        "CHALLENGE_ALREADY_USED",
        verify,
        request,
        device,
    )
    got = call(
        countersign.sessions.GetSession, session_pb2.GetSessionRequest(session_id=session.id), device
    ).session
    transcript.equal(
        "GetSession with the session token says ACTIVE", got.state, session_pb2.SESSION_STATE_ACTIVE
    )
    transcript.equal("and names the account", got.account_id, answer.account.id)

    check_access_token(countersign, client, wallet, answer, transcript)
    return answer


def create_session(countersign, client: dict, wallet, network: str, transcript):
    request = session_pb2.CreateSessionRequest(signing_address=wallet.address, signing_network=network)
    answer = call(countersign.sessions.CreateSession, request, client["authorization"])
    session = answer.session
    transcript.equal(
        f"CreateSession on {network} answers a PENDING session",
        session.state,
        session_pb2.SESSION_STATE_PENDING,
    )
    transcript.equal("of this client", session.client_id, client["client_id"])
    transcript.equal(
        "signing address and network, normalised",
        (session.signing_address, session.signing_network),
        (wallet.address, MAIN_NET),
    )
    transcript.equal(
        "the deposit address is the signing address",
        (session.deposit_address, session.deposit_network),
        (wallet.address, MAIN_NET),
    )
    transcript.holds("the session token starts with cst_", answer.session_token.startswith("cst_"))
    return session, answer.session_token


def start_challenge(countersign, device: str, wallet, network: str, transcript):
    request = challenge_pb2.StartChallengeRequest(
        format=challenge_pb2.CHALLENGE_FORMAT_TEXT, address=wallet.address, network=network
    )
    challenge = call(countersign.challenges.StartChallenge, request, device).challenge
    transcript.equal("the text to sign", challenge.message, f"Signing in with Ratio: {challenge.nonce}")
    transcript.holds(
        "its nonce has at least 128 bits",
        len(challenge.nonce) >= 22 and challenge.nonce.isalnum(),
        challenge.nonce,
    )
    transcript.equal(
        "two minutes to sign", challenge.expire_time.seconds - challenge.create_time.seconds, 120
    )
    return challenge


def verified(verification) -> tuple[str, str, str]:
    method = challenge_pb2.VerificationMethod.Name(verification.method)
    return method, verification.address, verification.network


def check_access_token(countersign, client: dict, wallet, answer, transcript) -> None:
    transcript.equal("the token's type", answer.tokens.token_type, "Bearer")
    header, claims = countersign.verify_access_token(answer.tokens.access_token, audience=client["client_id"])
    transcript.equal(
        "the JWKS over HTTP verifies the access token", (header["typ"], header["alg"]), ("at+jwt", "ES256")
    )
    expected = {
        "iss": countersign.issuer,
        "sub": answer.account.id,
        "client_id": client["client_id"],
        "sid": answer.session.id,
        "exp": answer.tokens.access_token_expire_time.seconds,
        "token_type": "access",
        "address": wallet.address,
        "network": MAIN_NET,
        "wallet_kind": "eoa",
        "deposit_address": wallet.address,
        "deposit_network": MAIN_NET,
    }
    transcript.equal("its claims", {name: claims.get(name) for name in expected}, expected)
    transcript.equal("it lives five minutes", claims["exp"] - claims["iat"], 300)
