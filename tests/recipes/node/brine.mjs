// Brine: an exchange's login by address alone, with a text of its own, and a rotating refresh token.
//
// StartChallenge TEXT (Basic) -> VerifyChallenge by address -> RefreshToken.

import { Wallet } from "ethers";

import { call, refused } from "./caller.mjs";

const AUDIENCE = "https://api.brine.example";
const ORIGIN = "https://brine.example";
const UNAUTHENTICATED = "UNAUTHENTICATED";

export async function run(countersign, clients, transcript) {
  const client = clients.brine;
  const wallet = Wallet.createRandom();
  const answer = await logIn(countersign, client, wallet, transcript);
  await checkTokens(countersign, client, answer, transcript);
  await refresh(countersign, client, answer, transcript);
}

async function logIn(countersign, client, wallet, transcript) {
  const { challenges } = countersign;
  const address = wallet.address.toLowerCase();
  const { challenge } = await call(challenges, "StartChallenge", { address }, client.authorization);
  transcript.equal(
    "the text to sign, with U+2019 and the origin",
    challenge.message,
    `You\u2019re now signing into Brine Testnet, make sure the origin is ${ORIGIN} (Login-code:${challenge.nonce})`,
  );
  transcript.equal("the login code has 22 characters", challenge.nonce.length, 22);
  transcript.equal("the address comes back in EIP-55", challenge.address, wallet.address);

  const signature = (await wallet.signMessage(challenge.message)).replace(/^0x/, "");
  const answer = await call(challenges, "VerifyChallenge", { address, signature }, client.authorization);
  const what = "logged in, no nonce sent back, the signature without 0x";
  transcript.equal(what, answer.session.state, "SESSION_STATE_ACTIVE");
  transcript.equal("of this wallet", answer.session.signing_address, wallet.address);
  return answer;
}

async function checkTokens(countersign, client, { session, account, tokens }, transcript) {
  const { claims } = await countersign.verifyAccessToken(tokens.access_token, AUDIENCE);
  transcript.equal("the access token is for the policy's audience", claims.sub, account.id);
  transcript.equal("it lives 30 minutes", claims.exp - claims.iat, 1800);
  transcript.holds("the refresh token starts with crt_", tokens.refresh_token.startsWith("crt_"));
  const idle = tokens.refresh_token_expire_time.seconds - claims.iat;
  transcript.holds("it may lie unused for 14 days", Math.abs(idle - 14 * 86_400) <= 2, idle);

  const access = await introspect(countersign, client, tokens.access_token);
  transcript.equal(
    "introspection: the access token is active",
    [access.active, access.token_type, access.sub, access.sid, access.client_id, access.aud],
    [true, "access_token", account.id, session.id, client.client_id, [AUDIENCE]],
  );
  const refreshing = await introspect(countersign, client, tokens.refresh_token);
  const seen = [refreshing.active, refreshing.token_type];
  transcript.equal("introspection: the refresh token is active", seen, [true, "refresh_token"]);

  const request = { session_id: session.id };
  const jwt = `JWT ${tokens.access_token}`;
  const { session: live } = await call(countersign.sessions, "GetSession", request, jwt);
  const expected = [session.id, "SESSION_STATE_ACTIVE"];
  transcript.equal("GetSession with `JWT <access>` says ACTIVE", [live.id, live.state], expected);
}

async function refresh(countersign, client, { session, tokens: first }, transcript) {
  const second = await spend(countersign, first.refresh_token);
  transcript.holds("RefreshToken answers a new refresh token", second.refresh_token !== first.refresh_token);
  transcript.holds("and a new access token", second.access_token !== first.access_token);
  const { claims } = await countersign.verifyAccessToken(second.access_token, AUDIENCE);
  transcript.equal("of the same session", claims.sid, session.id);

  const retried = await spend(countersign, first.refresh_token);
  transcript.equal("the old one at once: the very same new one", retried.refresh_token, second.refresh_token);

  const third = await spend(countersign, second.refresh_token, "JWT xyz");
  const moved = third.refresh_token !== second.refresh_token;
  transcript.holds("a stale `authorization: JWT xyz` is ignored", moved);

  const spending = [countersign.tokens, "RefreshToken"];
  const stolen = { refresh_token: first.refresh_token };
  const newest = { refresh_token: third.refresh_token };
  const reused = [UNAUTHENTICATED, "REFRESH_TOKEN_REUSED"];
  const revoked = [UNAUTHENTICATED, "SESSION_REVOKED"];
  await refused(countersign, transcript, "two steps back", reused, ...spending, stolen);
  await refused(countersign, transcript, "the newest after that", revoked, ...spending, newest);
  await checkRevoked(countersign, client, session.id, third, transcript);
}

async function checkRevoked(countersign, client, sessionId, tokens, transcript) {
  for (const [name, token] of [
    ["access", tokens.access_token],
    ["refresh", tokens.refresh_token],
  ]) {
    const seen = await introspect(countersign, client, token);
    const said = Object.values(seen).some((value) => value.length > 0 || value === true || value > 0);
    const what = `introspection: the ${name} token is inactive, and nothing else is said`;
    transcript.holds(what, !said, JSON.stringify(seen));
  }
  const request = { session_id: sessionId };
  const { session } = await call(countersign.sessions, "GetSession", request, client.authorization);
  transcript.equal(
    "GetSession says REVOKED, and why",
    [session.state, session.revoke_reason],
    ["SESSION_STATE_REVOKED", "REVOKE_REASON_REFRESH_TOKEN_REUSED"],
  );
  const revoked = [UNAUTHENTICATED, "SESSION_REVOKED"];
  const get = [countersign.sessions, "GetSession"];
  const jwt = `JWT ${tokens.access_token}`;
  await refused(countersign, transcript, "GetSession with the access token", revoked, ...get, request, jwt);
}

async function spend(countersign, refreshToken, authorization) {
  const request = { refresh_token: refreshToken };
  const { tokens } = await call(countersign.tokens, "RefreshToken", request, authorization);
  return tokens;
}

function introspect(countersign, client, token) {
  return call(countersign.tokens, "IntrospectToken", { token }, client.authorization);
}
