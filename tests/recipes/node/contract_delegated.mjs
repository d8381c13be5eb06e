// An account with a key whose code is another contract's (EIP-7702): its key signs in, that code never does.

import { serializeErc6492Signature } from "viem/utils";

import { MISMATCH } from "./application.mjs";
import { newKey } from "./chain.mjs";
import { ContractWallet, Vault } from "./contract_wallet.mjs";
import { FORMATS } from "./formats.mjs";

// A factory that is nobody's, as if the wallet had to be deployed first (ERC-6492).
const NO_MEANS = { address: newKey().address, data: "0x" };
const OWN_KEY = "VERIFICATION_METHOD_EOA";

export async function run(countersign, clients, transcript, chains) {
  const vault = new Vault(countersign, clients, transcript);
  const key = newKey();
  await delegate(chains[1], key, await chains[1].deploy("WillingWallet"));
  const code = await chains[1].node.getCode({ address: key.address });
  transcript.holds("the account's code is a delegation", code.startsWith("0xef0100"), code);
  const own = new ContractWallet(chains[1], key.address, [key]);
  const stranger = new ContractWallet(chains[1], key.address, [newKey()]);
  for (const [format, challenge] of Object.entries(FORMATS)) {
    const strange = await challenge(vault, stranger);
    await vault.refused(`attack 10: ${format}, by another key`, MISMATCH, strange);
    const odd = { ...strange, signature: "0xc0ffee" };
    await vault.refused(`attack 10: ${format}, by odd bytes`, MISMATCH, odd);
    const wrapped = serializeErc6492Signature({ ...NO_MEANS, signature: strange.signature });
    await vault.refused(`attack 10: ${format}, wrapped`, MISMATCH, { ...strange, signature: wrapped });
    const answer = await vault.verifyOnce(await challenge(vault, own));
    await checkPlain(countersign, vault, `attack 10: ${format}, by its own key`, answer, key.address);
  }
}

async function delegate(chain, key, contract) {
  const authorization = await chain.node.signAuthorization({ account: key, contractAddress: contract });
  // Sent to somebody else, since the account itself now is a contract that takes no such call.
  await chain.send({ to: newKey().address, authorizationList: [authorization] });
}

async function checkPlain(countersign, { client, transcript }, what, { verification, tokens }, address) {
  const got = [verification.method, verification.address, verification.network];
  transcript.equal(what, got, [OWN_KEY, address, "eip155:1"]);
  const { claims } = await countersign.verifyAccessToken(tokens.access_token, client.client_id);
  transcript.equal("and is no contract to the token", claims.wallet_kind, "eoa");
}
