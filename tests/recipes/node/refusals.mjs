// What every caller meets when something is wrong: a code, a reason for machines, and the field.

import { randomUUID } from "node:crypto";

import { Wallet } from "ethers";

import { basic, refused } from "./caller.mjs";

const MALFORMED = {
  empty: "",
  short: "0x1234",
  "no hex": `0x${"zz".repeat(20)}`,
  "a wrong checksum": "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
  "the zero address": `0x${"00".repeat(20)}`,
};

export async function run(countersign, clients, transcript) {
  await badCredentials(countersign, clients.ratio, clients.brine.client_secret, transcript);
  await badAddresses(countersign, clients.brine, transcript);
}

async function badCredentials(countersign, client, foreignSecret, transcript) {
  const request = { address: Wallet.createRandom().address };
  const start = [countersign.challenges, "StartChallenge", request];
  const ready = basic(client.client_id, client.client_secret);
  transcript.equal("the ready header is Basic of id and secret", client.authorization, ready);

  const missing = ["UNAUTHENTICATED", "CREDENTIALS_MISSING"];
  await refused(countersign, transcript, "no credentials", missing, ...start);

  const invalid = ["UNAUTHENTICATED", "CLIENT_CREDENTIALS_INVALID"];
  const nobody = basic(randomUUID(), client.client_secret);
  // Another client's, so that it is well formed and the comparison itself must refuse it.
  const foreign = basic(client.client_id, foreignSecret);
  const unknown = await refused(countersign, transcript, "an unknown client", invalid, ...start, nobody);
  const wrong = await refused(countersign, transcript, "a wrong secret", invalid, ...start, foreign);
  transcript.equal("the two cannot be told apart", wrong, unknown);
}

async function badAddresses(countersign, client, transcript) {
  const { challenges, sessions } = countersign;
  for (const [name, address] of Object.entries(MALFORMED)) {
    const create = { signing_address: address, signing_network: "ETHEREUM" };
    for (const [service, method, request, field] of [
      [challenges, "StartChallenge", { address }, "address"],
      [sessions, "CreateSession", create, "signing_address"],
    ]) {
      const what = `${method}, address ${name}`;
      const invalid = ["INVALID_ARGUMENT", "INVALID_ADDRESS"];
      const authorization = client.authorization;
      const got = await refused(
        countersign,
        transcript,
        what,
        invalid,
        service,
        method,
        request,
        authorization,
      );
      transcript.equal("the violation names the field", got.fields, [field]);
    }
  }
}
