// Ratio: a backend creates the session, and a device without a secret signs in.
//
// CreateSession (Basic) -> StartChallenge TEXT (session token) -> VerifyChallenge by address (session token).

import { Wallet } from "ethers";

import { call, refused } from "./caller.mjs";

const MAIN_NET = "eip155:1";

export async function run(countersign, clients, transcript) {
  const client = clients.ratio;
  const wallet = Wallet.createRandom();

  const first = await signIn(countersign, client, wallet, "ETHEREUM", transcript);
  transcript.equal("the first sign-in makes the account", first.account.created, true);

  const again = await signIn(countersign, client, wallet, "EVM", transcript);
  transcript.equal("the second sign-in finds the account", again.account.created, false);
  transcript.equal("the account's id is the same", again.account.id, first.account.id);
  transcript.holds("the session is another", again.session.id !== first.session.id);
}

async function signIn(countersign, client, wallet, network, transcript) {
  const { session, token } = await createSession(countersign, client, wallet, network, transcript);
  const device = `Bearer ${token}`;
  const challenge = await startChallenge(countersign, device, wallet, network, transcript);
  const { challenges, sessions } = countersign;

  const stranger = {
    address: wallet.address,
    signature: await Wallet.createRandom().signMessage(challenge.message),
  };
  const mismatch = ["UNAUTHENTICATED", "SIGNATURE_MISMATCH"];
  const verify = [challenges, "VerifyChallenge"];
  await refused(countersign, transcript, "another wallet's signature", mismatch, ...verify, stranger, device);

  const request = { address: wallet.address, signature: await wallet.signMessage(challenge.message) };
  const answer = await call(...verify, request, device);
  transcript.equal("the right one still signs in", answer.session.state, "SESSION_STATE_ACTIVE");
  transcript.equal("it is the session that was created", answer.session.id, session.id);
  const verified = { method: "VERIFICATION_METHOD_EOA", address: wallet.address, network: MAIN_NET };
  transcript.equal("verified as", { ...answer.verification }, verified);

  const used = ["FAILED_PRECONDITION", "CHALLENGE_ALREADY_USED"];
  await refused(countersign, transcript, "the same signature again", used, ...verify, request, device);
  const { session: got } = await call(sessions, "GetSession", { session_id: session.id }, device);
  transcript.equal("GetSession with the session token says ACTIVE", got.state, "SESSION_STATE_ACTIVE");
  transcript.equal("and names the account", got.account_id, answer.account.id);

  await checkAccessToken(countersign, client, wallet, answer, transcript);
  return answer;
}

async function createSession(countersign, client, wallet, network, transcript) {
  const request = { signing_address: wallet.address, signing_network: network };
  const answer = await call(countersign.sessions, "CreateSession", request, client.authorization);
  const { session, session_token: token } = answer;
  transcript.equal(
    `CreateSession on ${network} answers a PENDING session`,
    session.state,
    "SESSION_STATE_PENDING",
  );
  transcript.equal("of this client", session.client_id, client.client_id);
  const signing = [session.signing_address, session.signing_network];
  transcript.equal("signing address and network, normalised", signing, [wallet.address, MAIN_NET]);
  const deposit = [session.deposit_address, session.deposit_network];
  transcript.equal("the deposit address is the signing address", deposit, [wallet.address, MAIN_NET]);
  transcript.holds("the session token starts with cst_", token.startsWith("cst_"));
  return { session, token };
}

async function startChallenge(countersign, device, wallet, network, transcript) {
  const request = { format: "CHALLENGE_FORMAT_TEXT", address: wallet.address, network };
  const { challenge } = await call(countersign.challenges, "StartChallenge", request, device);
  transcript.equal("the text to sign", challenge.message, `Signing in with Ratio: ${challenge.nonce}`);
  const strong = /^[A-Za-z0-9]{22,}$/.test(challenge.nonce);
  transcript.holds("its nonce has at least 128 bits", strong, challenge.nonce);
  const seconds = challenge.expire_time.seconds - challenge.create_time.seconds;
  transcript.equal("two minutes to sign", seconds, 120);
  return challenge;
}

async function checkAccessToken(countersign, client, wallet, answer, transcript) {
  transcript.equal("the token's type", answer.tokens.token_type, "Bearer");
  const { header, claims } = await countersign.verifyAccessToken(
    answer.tokens.access_token,
    client.client_id,
  );
  const named = [header.typ, header.alg];
  transcript.equal("the JWKS over HTTP verifies the access token", named, ["at+jwt", "ES256"]);
  const expected = {
    iss: countersign.issuer,
    sub: answer.account.id,
    client_id: client.client_id,
    sid: answer.session.id,
    exp: answer.tokens.access_token_expire_time.seconds,
    token_type: "access",
    address: wallet.address,
    network: MAIN_NET,
    wallet_kind: "eoa",
    deposit_address: wallet.address,
    deposit_network: MAIN_NET,
  };
  const got = Object.fromEntries(Object.keys(expected).map((name) => [name, claims[name]]));
  transcript.equal("its claims", got, expected);
  transcript.equal("it lives five minutes", claims.exp - claims.iat, 300);
}
