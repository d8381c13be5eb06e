"""Measures what an operator asks of a cluster, with the real program on a real PostgreSQL.

    ./check postgres -- python tests/measure/measure.py PROGRAM propagation
    ... propagation  how soon a changed policy and a disabled client are in force on the other instance
    ... restart      calls under load while PostgreSQL restarts at once (needs the throw-away cluster of ./check)
    ... soak         ten minutes of sign-ins with short deadlines and little retention: rows and latency
    ... rotation     tokens of two instances while their keys rotate, at PyJWT and jose with their usual caches
    ... footprint    start to ready on each store, the program's size, its memory

Prints figures. It needs the tools that `./check` installs, and is no test: figures depend on the machine.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import grpc
import jwt
import pg8000.native
from eth_account import Account
from eth_account.messages import encode_defunct
from google.rpc import error_details_pb2
from grpc_status import rpc_status

HERE = pathlib.Path(__file__).resolve().parent
PROTOS = HERE.parent.parent / "proto"
TIMEOUT = 30
NO_LIMIT = {"perClient": 0, "perSession": 0, "perAddress": 0, "perClientRefresh": 0}
SECONDS_AWAY = float(os.environ.get("SECONDS_AWAY", "3"))


def main() -> None:
    binary, what = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="countersign-measure-")))
        make_stubs(work)
        {"propagation": propagation, "restart": restart, "soak": soak, "rotation": rotation, "footprint": footprint}[what](stack, binary, work)


def make_stubs(work: pathlib.Path) -> None:
    protos = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "countersign").rglob("*.proto"))
    generate = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    subprocess.run([*generate, f"--python_out={work}", f"--grpc_python_out={work}", *protos], check=True)
    sys.path.insert(0, str(work))


### The database


def server_url() -> urllib.parse.SplitResult:
    return urllib.parse.urlsplit(os.environ["COUNTERSIGN_TEST_DATABASE_URL"])


def query(database: str, statement: str) -> list:
    url = server_url()
    connection = pg8000.native.Connection(
        user=url.username, password=url.password, host=url.hostname, port=url.port, database=database, timeout=5
    )
    with contextlib.closing(connection):
        return connection.run(statement)


@contextlib.contextmanager
def new_database():
    name = f"countersign_measure_{secrets.token_hex(6)}"
    query("postgres", f"CREATE DATABASE {name}")
    try:
        yield name
    finally:
        query("postgres", f"DROP DATABASE {name} WITH (FORCE)")


### The program


class Program:
    """The program on one store, and the instances that it runs."""

    def __init__(self, binary: pathlib.Path, store_url: str, work: pathlib.Path):
        self.binary, self.work = binary, work
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("COUNTERSIGN_")}
        self.environment["COUNTERSIGN_DATABASE_URL"] = store_url
        self.keys = work / "root.keys"
        if not self.keys.exists():
            self.keys.write_text(self.run("keys", "new-root"), encoding="utf-8")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.binary, *arguments], env=self.environment, cwd=self.work, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True, check=True,
        )
        return done.stdout

    @contextlib.contextmanager
    def serving(self, *flags: str):
        command = [self.binary, "serve", "--migrate", "--root-keys-file", self.keys, "--log-format", "text"]
        for port in ("grpc", "http", "operations"):
            command += [f"--{port}-listen", "127.0.0.1:0"]
        log = self.work / f"server-{secrets.token_hex(4)}.log"
        begin = time.perf_counter()
        with log.open("wb") as output:
            process = subprocess.Popen([*command, *flags], env=self.environment, cwd=self.work, stderr=output)
        try:
            yield Instance(process, log, begin)
        finally:
            process.terminate()
            process.wait(TIMEOUT)


class Instance:
    """A running server: its addresses out of its log, its memory, and its stubs."""

    def __init__(self, process: subprocess.Popen, log: pathlib.Path, begin: float):
        self.process, self.log = process, log
        self.operations = self._logged(r"operations listening.*address=(\S+)")
        while self._probe("/readyz") != 200:
            time.sleep(0.0005)
        self.start_seconds = time.perf_counter() - begin
        self.grpc = self._logged(r"gRPC listening.*address=(\S+)")
        self.http = self._logged(r"HTTP listening.*address=(\S+)")
        channel = grpc.insecure_channel(self.grpc)
        from countersign.v1 import challenge_pb2_grpc, token_pb2_grpc

        self.channel = channel
        self.challenges = challenge_pb2_grpc.ChallengeServiceStub(channel)
        self.tokens = token_pb2_grpc.TokenServiceStub(channel)

    def _logged(self, pattern: str) -> str:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            text = re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(encoding="utf-8"))
            if found := re.search(pattern, text):
                return found.group(1)
            if self.process.poll() is not None:
                sys.exit(text)
            time.sleep(0.0005)
        sys.exit("the server does not start")

    def _probe(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://{self.operations}{path}", timeout=5) as answer:
                return answer.status
        except OSError:
            return 0

    def memory_mib(self) -> float:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


class Client:
    """A client of the program's store."""

    def __init__(self, program: Program, policy: dict):
        self.program = program
        self.file = program.work / "policy.json"
        self.file.write_text(json.dumps({"name": "Measured", "rateLimit": NO_LIMIT} | policy), encoding="utf-8")
        made = json.loads(program.run("client", "create", "--policy-file", str(self.file), "--output", "json"))
        self.id, self.metadata = made["client_id"], (("authorization", made["authorization"]),)
        self.authorization = made["authorization"]

    def update(self, policy: dict) -> None:
        self.file.write_text(json.dumps(policy), encoding="utf-8")
        self.program.run("client", "update", self.id, "--policy-file", str(self.file))

    def start(self, instance: Instance, address: str):
        from countersign.v1 import challenge_pb2

        request = challenge_pb2.StartChallengeRequest(address=address)
        return instance.challenges.StartChallenge(request, metadata=self.metadata, timeout=10).challenge

    def sign_in(self, instance: Instance, wallet):
        from countersign.v1 import challenge_pb2

        challenge = self.start(instance, wallet.address)
        signature = wallet.sign_message(encode_defunct(text=challenge.message)).signature.hex()
        request = challenge_pb2.VerifyChallengeRequest(challenge_id=challenge.id, signature=signature)
        return instance.challenges.VerifyChallenge(request, metadata=self.metadata, timeout=10).tokens

    def refresh(self, instance: Instance, token: str) -> str:
        from countersign.v1 import token_pb2

        request = token_pb2.RefreshTokenRequest(refresh_token=token)
        return instance.tokens.RefreshToken(request, timeout=10).tokens.refresh_token


def refusal(error: grpc.RpcError) -> tuple[str, bool]:
    """The reason, and whether RetryInfo came with it."""
    reason, retry = "", False
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, wait = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        retry = retry or detail.Unpack(wait)
    return reason or error.code().name, retry


def percentile(values: list, of: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * of))]


### What is measured


def propagation(stack, binary, work) -> None:
    database = stack.enter_context(new_database())
    program = Program(binary, server_url()._replace(path=f"/{database}").geturl(), work)
    stack.enter_context(program.serving())
    other = stack.enter_context(program.serving())
    client, address = Client(program, {}), Account.create().address

    def answer() -> str:
        try:
            client.start(other, address)
            return ""
        except grpc.RpcError as error:
            return refusal(error)[0]

    solana = {"networks": ["SOLANA"]}
    changes = [
        ("policy", lambda: client.update(solana), "POLICY_DENIED"),
        ("policy", lambda: client.update({"networks": []}), ""),
        ("disabled", lambda: program.run("client", "disable", client.id), "CLIENT_DISABLED"),
        ("enabled", lambda: program.run("client", "enable", client.id), ""),
    ]
    delays = []
    for number in range(52):
        _, change, expected = changes[number % len(changes)]
        answer()  # the other instance knows the client as it was
        begin = time.perf_counter()
        changer = threading.Thread(target=change)
        changer.start()
        while answer() != expected:
            pass
        delays.append(time.perf_counter() - begin)
        changer.join()
    print(f"{len(delays)} changes, from the start of the command to the first call that obeys, in ms:")
    print(f"p50 {percentile(delays, 0.5) * 1e3:.0f}, p99 {percentile(delays, 0.99) * 1e3:.0f}, max {max(delays) * 1e3:.0f}")


def restart(stack, binary, work) -> None:
    database = stack.enter_context(new_database())
    program = Program(binary, server_url()._replace(path=f"/{database}").geturl(), work)
    instances = [stack.enter_context(program.serving()) for _ in range(2)]
    client = Client(program, {})
    data = pathlib.Path(query("postgres", "SHOW data_directory")[0][0])
    outcomes, stop = [], threading.Event()

    def user(number: int) -> None:
        instance, wallet = instances[number % 2], Account.create()
        token = client.sign_in(instance, wallet).refresh_token
        while not stop.is_set():
            begin = time.perf_counter()
            try:
                token, outcome = client.refresh(instance, token), ("OK", False)
            except grpc.RpcError as error:
                outcome = refusal(error)
            outcomes.append((begin, time.perf_counter(), number % 2, *outcome))

    def follow(instance: Instance, states: list) -> None:
        service = b"countersign.v1.TokenService"
        watch = instance.channel.unary_stream("/grpc.health.v1.Health/Watch")
        with contextlib.suppress(grpc.RpcError):
            for state in watch(bytes([0x0A, len(service)]) + service):
                states.append((time.perf_counter(), state == b"\x08\x01"))

    states = [[], []]
    for number in range(2):
        threading.Thread(target=follow, args=(instances[number], states[number]), daemon=True).start()
    users = [threading.Thread(target=user, args=(number,), daemon=True) for number in range(16)]
    for one in users:
        one.start()
    time.sleep(3)
    gone = time.perf_counter()
    def pg_ctl(*arguments: str) -> None:
        # The server refuses to run as root.
        command = ["runuser", "-u", "postgres", "--", "bin/pg_ctl", "--pgdata=data", "--silent", "--wait"]
        subprocess.run([*command, *arguments], check=True, cwd=data.parent)

    pg_ctl("stop", "--mode=immediate")
    time.sleep(SECONDS_AWAY)
    pg_ctl("start", "--log=server.log", "-o", f"-p {server_url().port}")
    back = time.perf_counter()
    time.sleep(8)
    stop.set()
    for one in users:
        one.join()
    report_restart(outcomes, states, gone, back)


def report_restart(outcomes, states, gone, back) -> None:
    count = collections.Counter((reason, retry) for *_, reason, retry in outcomes)
    print("outcomes (reason, with RetryInfo):", dict(count))
    for number in range(2):
        mine = [outcome for outcome in outcomes if outcome[2] == number]
        last_failure = max((end for _, end, _, reason, _ in mine if reason != "OK"), default=gone)
        first_good = min(end for begin, end, _, reason, _ in mine if reason == "OK" and begin > back)
        turned = [f"{moment - gone:+.2f} s {'SERVING' if serves else 'NOT_SERVING'}" for moment, serves in states[number]]
        print(
            f"instance {number + 1}: first success {first_good - back:+.2f} s after PostgreSQL was back, last failure "
            f"{last_failure - back:+.2f} s; health, after PostgreSQL went: {', '.join(turned)}"
        )


def soak(stack, binary, work) -> None:
    seconds = int(os.environ.get("SECONDS_OF_SOAK", "600"))
    database = stack.enter_context(new_database())
    program = Program(binary, server_url()._replace(path=f"/{database}").geturl(), work)
    short = ["--retention", "1s", "--clean-up-interval", "5s", "--log", "warn,countersign=info"]
    instance = stack.enter_context(program.serving(*short))
    policy = {"challengeTtl": "30s", "pendingSessionTtl": "30s", "refreshTokenTtl": "60s", "sessionMaxTtl": "60s",
              "accessTokenTtl": "60s"}
    client = Client(program, policy)
    environment = program.environment | {"COUNTERSIGN_BENCH_AUTHORIZATION": client.authorization}
    begin = time.monotonic()
    print("second  sign-ins/s  p50 ms  p99 ms  sessions  challenges  memory MiB")
    while (now := time.monotonic() - begin) < seconds:
        bench = [binary, "bench", "--target", instance.grpc, "--sign-ins", "12000", "--refreshes", "32"]
        done = subprocess.run([*bench, "--concurrency", "16"], env=environment, cwd=work, capture_output=True, text=True)
        line = next((line for line in done.stdout.splitlines() if "sign-ins" in line), done.stdout + done.stderr)
        rows = [query(database, f"SELECT count(*) FROM {table}")[0][0] for table in ("sessions", "challenges")]
        print(f"{now:5.0f}  {line.strip()}  sessions {rows[0]}  challenges {rows[1]}  {instance.memory_mib():.0f} MiB", flush=True)


JOSE = """
import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";
const [jwks, audience] = process.argv.slice(1);
const keys = createRemoteJWKSet(new URL(jwks));
let [good, bad] = [0, 0];
for await (const token of createInterface({ input: process.stdin })) {
  try { await jwtVerify(token, keys, { audience, typ: "at+jwt" }); good += 1; }
  catch (why) { bad += 1; console.error(String(why)); }
}
console.log(JSON.stringify({ good, bad }));
"""


def rotation(stack, binary, work) -> None:
    """Keys rotate every 75 s, published for 70 before: longer than jose waits before it asks again (30 s)."""
    database = stack.enter_context(new_database())
    program = Program(binary, server_url()._replace(path="/" + database).geturl(), work)
    often = ("--key-rotation-interval", "75s", "--key-prepublish", "70s")
    one, two = (stack.enter_context(program.serving(*often)) for _ in range(2))
    client = Client(program, {})
    jwks = [f"http://{instance.http}/.well-known/jwks.json" for instance in (one, two)]
    tools = pathlib.Path(os.environ["COUNTERSIGN_TEST_NODE"])
    node = ["node", "--input-type=module", "-e", JOSE, jwks[1], client.id]
    jose = subprocess.Popen(node, cwd=tools, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    python = [jwt.PyJWKClient(url) for url in jwks]
    kids, count, failures = set(), 0, []
    end = time.monotonic() + float(os.environ.get("SECONDS", "240"))
    while time.monotonic() < end:
        tokens = client.sign_in(one, Account.create())
        refreshed = two.tokens.RefreshToken(refresh_request(tokens.refresh_token), timeout=10).tokens
        for token in (tokens.access_token, refreshed.access_token):
            count += 1
            kids.add(jwt.get_unverified_header(token)["kid"])
            for keys in python:
                try:
                    key = keys.get_signing_key_from_jwt(token)
                    jwt.decode(token, key, algorithms=["ES256"], audience=client.id)
                except jwt.PyJWTError as why:
                    failures.append(repr(why))
            jose.stdin.write(token + "\n")
    at_jose = jose.communicate()[0].strip()
    print(f"{count} tokens by {len(kids)} keys; refused at PyJWT: {len(failures)} {failures[:3]}; jose: {at_jose}")
    made = query(database, "SELECT count(*) FILTER (WHERE retire_time IS NOT NULL), count(*) FROM signing_keys "
                           "WHERE algorithm = 'ES256'")
    print(f"rotations of ES256, and its keys in all: {made}")


def refresh_request(token: str):
    from countersign.v1 import token_pb2

    return token_pb2.RefreshTokenRequest(refresh_token=token)


def footprint(stack, binary, work) -> None:
    print(f"program: {binary.stat().st_size / 2**20:.1f} MiB")
    database = stack.enter_context(new_database())
    stores = {
        "sqlite": f"sqlite:{work / 'countersign.db'}",
        "postgres": server_url()._replace(path=f"/{database}").geturl(),
    }
    for name, url in stores.items():
        program = Program(binary, url, work)
        program.run("migrate")
        starts = []
        for _ in range(5):
            with program.serving() as instance:
                starts.append(instance.start_seconds)
        with program.serving() as instance:
            time.sleep(2)
            idle, client = instance.memory_mib(), Client(program, {})
            environment = program.environment | {"COUNTERSIGN_BENCH_AUTHORIZATION": client.authorization}
            bench = [binary, "bench", "--target", instance.grpc, "--sign-ins", "100000", "--refreshes", "32"]
            done = subprocess.run(bench, env=environment, cwd=work, capture_output=True, text=True)
            after = instance.memory_mib()
        print(
            f"{name}: start to ready {statistics.median(starts) * 1e3:.0f} ms (median of {len(starts)}); memory idle "
            f"{idle:.1f} MiB, after 100,000 sign-ins {after:.1f} MiB"
        )
        print("   ", " | ".join(line.strip() for line in done.stdout.splitlines() if line.strip()) or done.stderr)


if __name__ == "__main__":
    main()
