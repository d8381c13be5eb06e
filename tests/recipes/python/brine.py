"""Brine: an exchange's login by address alone, with a text of its own, and a rotating refresh token.

StartChallenge TEXT (Basic) -> VerifyChallenge by address -> RefreshToken.
"""

from caller import call, personal_sign, refused
from countersign.v1 import challenge_pb2, session_pb2, token_pb2
from eth_account import Account

AUDIENCE = "https://api.brine.example"
ORIGIN = "https://brine.example"


def run(countersign, clients: dict, transcript) -> None:
    client = clients["brine"]
    wallet = Account.create()
    answer = log_in(countersign, client, wallet, transcript)
    check_tokens(countersign, client, answer, transcript)
    refresh(countersign, client, answer, transcript)


def log_in(countersign, client: dict, wallet, transcript):
    request = challenge_pb2.StartChallengeRequest(address=wallet.address.lower())
    challenge = call(countersign.challenges.StartChallenge, request, client["authorization"]).challenge
    transcript.equal(
        "the text to sign, with U+2019 and the origin",
        challenge.message,
        f"You\u2019re now signing into Brine Testnet, make sure the origin is {ORIGIN} (Login-code:{challenge.nonce})",
    )
    transcript.equal("the login code has 22 characters", len(challenge.nonce), 22)
    transcript.equal("the address comes back in EIP-55", challenge.address, wallet.address)

    signature = personal_sign(wallet, challenge.message)
    transcript.holds("the signature goes out without 0x", not signature.startswith("0x"))
    request = challenge_pb2.VerifyChallengeRequest(address=wallet.address.lower(), signature=signature)
    answer = call(countersign.challenges.VerifyChallenge, request, client["authorization"])
    transcript.equal("logged in, no nonce sent back", answer.session.state, session_pb2.SESSION_STATE_ACTIVE)
    transcript.equal("of this wallet", answer.session.signing_address, wallet.address)
    return answer


def check_tokens(countersign, client: dict, answer, transcript) -> None:
    _, claims = countersign.verify_access_token(answer.tokens.access_token, audience=AUDIENCE)
    transcript.equal("the access token is for the policy's audience", claims["sub"], answer.account.id)
    transcript.equal("it lives 30 minutes", claims["exp"] - claims["iat"], 1800)
    transcript.holds("the refresh token starts with crt_", answer.tokens.refresh_token.startswith("crt_"))
    idle = answer.tokens.refresh_token_expire_time.seconds - claims["iat"]
    transcript.holds("it may lie unused for 14 days", abs(idle - 14 * 86_400) <= 2, idle)

    seen = introspect(countersign, client, answer.tokens.access_token)
    transcript.equal(
        "introspection: the access token is active",
        (seen.active, seen.token_type, seen.sub, seen.sid, seen.client_id, list(seen.aud)),
        (True, "access_token", answer.account.id, answer.session.id, client["client_id"], [AUDIENCE]),
    )
    seen = introspect(countersign, client, answer.tokens.refresh_token)
    transcript.equal(
        "introspection: the refresh token is active", (seen.active, seen.token_type), (True, "refresh_token")
    )
    session = get_session(countersign, answer.session.id, answer.tokens.access_token)
    transcript.equal(
        "GetSession with `JWT <access>` says ACTIVE",
        (session.id, session.state),
        (answer.session.id, session_pb2.SESSION_STATE_ACTIVE),
    )


def refresh(countersign, client: dict, answer, transcript) -> None:
    first = answer.tokens
    second = spend(countersign, first.refresh_token)
    transcript.holds("RefreshToken answers a new refresh token", second.refresh_token != first.refresh_token)
    transcript.holds("and a new access token", second.access_token != first.access_token)
    _, claims = countersign.verify_access_token(second.access_token, audience=AUDIENCE)
    transcript.equal("of the same session", claims["sid"], answer.session.id)

    retried = spend(countersign, first.refresh_token)
    transcript.equal(
        "the old one at once: the very same new one", retried.refresh_token, second.refresh_token
    )

    third = spend(countersign, second.refresh_token, "JWT xyz")
    transcript.holds(
        "a stale `authorization: JWT xyz` is ignored", third.refresh_token != second.refresh_token
    )

    spending = countersign.tokens.RefreshToken
    stolen = token_pb2.RefreshTokenRequest(refresh_token=first.refresh_token)
    newest = token_pb2.RefreshTokenRequest(refresh_token=third.refresh_token)
    refused(transcript, "two steps back", "UNAUTHENTICATED", "REFRESH_TOKEN_REUSED", spending, stolen)
    refused(transcript, "the newest after that", "UNAUTHENTICATED", "SESSION_REVOKED", spending, newest)
    check_revoked(countersign, client, answer.session.id, third, transcript)


def check_revoked(countersign, client: dict, session_id: str, tokens, transcript) -> None:
    for name, token in (("access", tokens.access_token), ("refresh", tokens.refresh_token)):
        seen = introspect(countersign, client, token)
        transcript.equal(
            f"introspection: the {name} token is inactive, and nothing else is said",
            seen,
            token_pb2.IntrospectTokenResponse(),
        )
    request = session_pb2.GetSessionRequest(session_id=session_id)
    session = call(countersign.sessions.GetSession, request, client["authorization"]).session
    transcript.equal(
        "GetSession says REVOKED, and why",
        (session.state, session.revoke_reason),
        (session_pb2.SESSION_STATE_REVOKED, session_pb2.REVOKE_REASON_REFRESH_TOKEN_REUSED),
    )
    refused(
        transcript,
        "GetSession with the access token",
        "UNAUTHENTICATED",
        "SESSION_REVOKED",
        countersign.sessions.GetSession,
        request,
        f"JWT {tokens.access_token}",
    )


def spend(countersign, refresh_token: str, authorization: str | None = None):
    request = token_pb2.RefreshTokenRequest(refresh_token=refresh_token)
    return call(countersign.tokens.RefreshToken, request, authorization).tokens


def introspect(countersign, client: dict, token: str):
    request = token_pb2.IntrospectTokenRequest(token=token)
    return call(countersign.tokens.IntrospectToken, request, client["authorization"])


def get_session(countersign, session_id: str, access_token: str):
    request = session_pb2.GetSessionRequest(session_id=session_id)
    return call(countersign.sessions.GetSession, request, f"JWT {access_token}").session
