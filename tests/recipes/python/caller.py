"""A caller of Countersign: its stubs, credentials, wallets, and what a refusal says."""

import base64
import dataclasses
import json
import urllib.request

import grpc
import jwt
from eth_account.messages import encode_defunct
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from countersign.v1 import challenge_pb2_grpc, session_pb2_grpc, token_pb2_grpc

TIMEOUT_SECONDS = 10


class Countersign:
    """The server's three services, and its keys over HTTP."""

    def __init__(self, setup: dict):
        self.issuer = setup["issuer"]
        self._jwks_url = f"http://{setup['http']}/.well-known/jwks.json"
        self.address = setup["grpc"]
        self._channel = grpc.insecure_channel(self.address)
        self.sessions = session_pb2_grpc.SessionServiceStub(self._channel)
        self.challenges = challenge_pb2_grpc.ChallengeServiceStub(self._channel)
        self.tokens = token_pb2_grpc.TokenServiceStub(self._channel)

    def __enter__(self) -> "Countersign":
        return self

    def __exit__(self, *_) -> None:
        self._channel.close()

    def jwks(self) -> dict:
        with urllib.request.urlopen(self._jwks_url, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)

    def verify_access_token(self, token: str, audience: str) -> tuple[dict, dict]:
        """Header and claims of an access token, verified as a gateway would: by the published keys."""
        header = jwt.get_unverified_header(token)
        keys = jwt.PyJWKSet.from_dict(self.jwks())
        claims = jwt.decode(
            token,
            keys[header["kid"]],
            algorithms=["ES256"],
            audience=audience,
            issuer=self.issuer,
            options={"require": ["iss", "aud", "sub", "iat", "exp", "jti", "sid"]},
        )
        return header, claims


def call(method, request, authorization: str | None = None):
    """One unary call, with the credentials in the metadata."""
    metadata = (("authorization", authorization),) if authorization else ()
    return method(request, metadata=metadata, timeout=TIMEOUT_SECONDS)


def basic(client_id: str, client_secret: str) -> str:
    pair = f"{client_id}:{client_secret}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def personal_sign(wallet, text: str) -> str:
    """EIP-191 over the whole text, as 130 hex digits without `0x`; v is 27 or 28."""
    return wallet.sign_message(encode_defunct(text=text)).signature.hex()


@dataclasses.dataclass(frozen=True)
class Refusal:
    """What a failed call says, to machines and to humans."""

    code: str
    domain: str = ""
    reason: str = ""
    text: str = ""
    fields: tuple[str, ...] = ()


def refusal(method, request, authorization: str | None = None) -> Refusal:
    """The refusal of a call that must not succeed."""
    try:
        call(method, request, authorization)
    except grpc.RpcError as error:
        return _read_refusal(error)
    return Refusal(code="OK")


def _read_refusal(error) -> Refusal:
    # `from_call` also insists that code and text in the details are those of the call itself.
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad_request)
    return Refusal(
        code=error.code().name,
        domain=info.domain,
        reason=info.reason,
        text=error.details(),
        fields=tuple(violation.field for violation in bad_request.field_violations),
    )


def refused(transcript, what: str, code: str, reason: str, method, request, authorization=None) -> Refusal:
    """Checks that a call is refused with this code, for this reason."""
    got = refusal(method, request, authorization)
    expected = (code, "countersign.v1", reason)
    transcript.equal(f"{what} -> {code} {reason}", (got.code, got.domain, got.reason), expected)
    return got
