// Which chain is asked about a contract wallet, who that wallet is, and what a chain's trouble means.

import { Application, INVALID_NETWORK, INVALID_SIGNATURE, MISMATCH } from "./application.mjs";
import { newKey } from "./chain.mjs";
import { ContractWallet, RPC_UNAVAILABLE, Vault, deployTwins } from "./contract_wallet.mjs";

const ODD = "0xc0ffee";

export async function run(countersign, clients, transcript, chains) {
  const vault = new Vault(countersign, clients, transcript);
  const twins = await deployTwins(chains);
  await twoAccounts(vault, twins);
  await onlyOnItsChain(vault, chains);
  await theNextEndpoint(vault, chains[100]);
  await trouble(vault, twins[0]);
  await nobodyToAsk(countersign, clients, vault, twins[0]);
  await aliases(vault, twins[0].address);
  await byAddressAlone(vault, await deployTwins(chains));
}

async function twoAccounts(vault, twins) {
  const { transcript } = vault;
  const [here, there] = twins;
  transcript.equal("one address on two chains", here.address, there.address);
  for (const [wallet, other] of [twins, [there, here]]) {
    const { id, message } = await vault.text(wallet.address, wallet.network);
    const signature = await other.signText(message);
    const what = `attack 8: the owner of the other chain's contract, on ${wallet.network}`;
    await vault.refused(what, MISMATCH, { challenge_id: id, signature });
  }
  const answers = [];
  for (const wallet of [here, there, here, there]) {
    const answer = await vault.signIn(wallet);
    await vault.checkContract(`signed in on ${wallet.network}`, answer, wallet);
    answers.push(answer);
  }
  const accounts = answers.map(({ account }) => account.id);
  transcript.holds("attack 8: the same address on two chains is two accounts", accounts[0] !== accounts[1]);
  transcript.equal("each finds its own again", accounts.slice(2), accounts.slice(0, 2));
  const created = answers.map(({ account }) => account.created);
  transcript.equal("made at the first sign-in", created, [true, true, false, false]);
}

async function onlyOnItsChain(vault, chains) {
  const deployer = newKey();
  const deploy = async (chain) => {
    const address = await chain.deploy("WillingOnChain1Wallet", [], deployer);
    return new ContractWallet(chain, address, [newKey()]);
  };
  const [here, there] = [await deploy(chains[1]), await deploy(chains[10])];
  await vault.checkContract("a contract that is willing on chain 1", await vault.signIn(here), here);
  const { id, message } = await vault.text(there.address, there.network);
  const request = { challenge_id: id, signature: await there.signText(message) };
  await vault.refused("attack 8: the same code, asked on chain 10", MISMATCH, request);
}

/** All live challenges of an address may be meant, whoever has started them. */
async function byAddressAlone(vault, [here, there]) {
  const { address } = here;
  const challenges = [await vault.text(address, here.network), await vault.text(address, there.network)];
  for (const [challenge, wallet] of [
    [challenges[1], there],
    [challenges[0], here],
  ]) {
    const answer = await vault.verify({ address, signature: await wallet.signText(challenge.message) });
    await vault.checkContract(`by address alone, signed on ${wallet.network}`, answer, wallet);
  }
  await pastAStrangers(vault, here, ["eip155:43114", here.network]);
  await pastAStrangers(vault, here, [here.network, "eip155:43114"]);
}

async function pastAStrangers(vault, wallet, networks) {
  const { address } = wallet;
  const texts = {};
  for (const network of networks) texts[network] = (await vault.text(address, network)).message;
  const answer = await vault.verify({ address, signature: await wallet.signText(texts[wallet.network]) });
  const what = `attack 3: one challenge on a chain that is down does not stop the other (${networks})`;
  await vault.checkContract(what, answer, wallet);
}

async function theNextEndpoint(vault, chain) {
  const owner = newKey();
  const wallet = new ContractWallet(chain, await chain.deploy("OwnerWallet", [owner.address]), [owner]);
  for (const time of ["first", "second"]) {
    const what = `the next endpoint is asked where one is down, a ${time} time`;
    await vault.checkContract(what, await vault.signIn(wallet), wallet);
  }
}

/** Trouble of a chain is no bad signature, and what was being signed stays good. */
async function trouble(vault, wallet) {
  for (const [network, what] of [
    ["eip155:43114", "the only endpoint is down"],
    ["eip155:250", "the only endpoint never answers"],
    ["eip155:56", "attack 8: the only endpoint is another chain's"],
  ]) {
    const { id, message } = await vault.text(wallet.address, network);
    const request = { challenge_id: id, signature: await wallet.signText(message) };
    const got = await vault.refused(what, RPC_UNAVAILABLE, request);
    vault.transcript.holds("it says when to try again", got.retryAfterMs > 0, JSON.stringify(got));
    await vault.refused("and so for odd bytes", RPC_UNAVAILABLE, { ...request, signature: ODD });
    await ownKey(vault, network);
  }
}

/** Where no node answers, a plain account still signs in, so none can have been asked. */
async function ownKey(vault, network) {
  const key = newKey();
  const { id, message } = await vault.text(key.address, network);
  const signature = await key.signMessage({ message });
  const { verification } = await vault.verify({ challenge_id: id, signature });
  const verified = [verification.method, verification.address, verification.network];
  const expected = ["VERIFICATION_METHOD_EOA", key.address, network];
  vault.transcript.equal("an own key signs in, and no node is asked", verified, expected);
}

async function nobodyToAsk(countersign, clients, vault, wallet) {
  const plain = new Application(countersign, clients, "plain", vault.transcript);
  for (const [application, network, what] of [
    [vault, "eip155:137", "a chain without endpoints"],
    [plain, "eip155:1", "a policy without contract wallets"],
    [plain, "eip155:43114", "such a policy, where the node is down"],
  ]) {
    const asked = { format: "CHALLENGE_FORMAT_TEXT", address: wallet.address, network };
    const { id, message } = await application.start(asked);
    const named = { challenge_id: id };
    const signature = await wallet.signText(message);
    await application.refused(`${what}: the owner's signature`, MISMATCH, { ...named, signature });
    await application.refused(`${what}: odd bytes`, INVALID_SIGNATURE, { ...named, signature: ODD });
  }
}

async function aliases(vault, address) {
  const named = (got, field) => vault.transcript.equal("the violation names the field", got.fields, [field]);
  const text = { format: "CHALLENGE_FORMAT_TEXT", address };
  const start = (network) => ({ ...text, network });
  named(await vault.startRefused("a challenge on EVM", INVALID_NETWORK, start("EVM")), "network");
  for (const [alias, network] of [
    ["ETHEREUM", "eip155:1"],
    ["POLYGON", "eip155:137"],
  ]) {
    const challenge = await vault.start(start(alias));
    vault.transcript.equal(`${alias} names one chain`, challenge.network, network);
  }
  const { id } = await vault.text(address, "ETHEREUM");
  const verify = { challenge_id: id, network: "EVM", signature: ODD };
  named(await vault.refused("a claim on EVM", INVALID_NETWORK, verify), "network");
  const create = { signing_address: address, signing_network: "EVM" };
  const refusal = await vault.createSessionRefused("a session on EVM", INVALID_NETWORK, create);
  named(refusal, "signing_network");
}
