"""A call whose answer is lost on the way is retried by gRPC itself, after the service config that comes along."""

import pathlib
import socket
import threading
import uuid

import grpc
from caller import call, personal_sign
from countersign.v1 import challenge_pb2, challenge_pb2_grpc, token_pb2, token_pb2_grpc
from eth_account import Account

SERVICE_CONFIG = pathlib.Path(__file__).resolve().parents[3] / "proto/countersign/v1/service_config.json"
# Answers to these calls carry tokens; whatever HTTP/2 says before is shorter.
ANSWER_BYTES = 400


class LossyWire:
    """Carries connections to the server. The first answer is lost, and its connection with it."""

    def __init__(self, target: str):
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "LossyWire":
        return self

    def __exit__(self, *_) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            threading.Thread(target=self._carry, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, may_lose: bool) -> None:
        try:
            while data := source.recv(65536):
                if may_lose and self.lost == 0 and len(data) > ANSWER_BYTES:
                    self.lost += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(
        address, options=[("grpc.service_config", SERVICE_CONFIG.read_text(encoding="utf-8"))]
    )


def run(countersign, clients: dict, transcript) -> None:
    a_sign_in(countersign, clients["ratio"], transcript)
    a_refresh(countersign, clients["ratio"], transcript)


def signed_request(countersign, client: dict) -> challenge_pb2.VerifyChallengeRequest:
    wallet = Account.create()
    start = challenge_pb2.StartChallengeRequest(address=wallet.address)
    challenge = call(countersign.challenges.StartChallenge, start, client["authorization"]).challenge
    return challenge_pb2.VerifyChallengeRequest(
        challenge_id=challenge.id,
        signature=personal_sign(wallet, challenge.message),
        request_id=str(uuid.uuid4()),
    )


def a_sign_in(countersign, client: dict, transcript) -> None:
    request = signed_request(countersign, client)
    with LossyWire(countersign.address) as wire, channel(wire.address) as lossy:
        stub = challenge_pb2_grpc.ChallengeServiceStub(lossy)
        answer = call(stub.VerifyChallenge, request, client["authorization"])
        transcript.equal("the first answer was lost", wire.lost, 1)
    transcript.equal("the sign-in was had all the same", answer.tokens.token_type, "Bearer")
    again = call(countersign.challenges.VerifyChallenge, request, client["authorization"])
    transcript.equal("it is one session", again.session.id, answer.session.id)
    transcript.equal("and one refresh token", again.tokens.refresh_token, answer.tokens.refresh_token)


def a_refresh(countersign, client: dict, transcript) -> None:
    request = signed_request(countersign, client)
    tokens = call(countersign.challenges.VerifyChallenge, request, client["authorization"]).tokens
    with LossyWire(countersign.address) as wire, channel(wire.address) as lossy:
        stub = token_pb2_grpc.TokenServiceStub(lossy)
        next_one = call(stub.RefreshToken, token_pb2.RefreshTokenRequest(refresh_token=tokens.refresh_token))
        transcript.equal("a refresh's answer was lost", wire.lost, 1)
    refreshed = token_pb2.RefreshTokenRequest(refresh_token=next_one.tokens.refresh_token)
    after = call(countersign.tokens.RefreshToken, refreshed)
    transcript.equal("its retry gave the one that is current", after.tokens.token_type, "Bearer")
