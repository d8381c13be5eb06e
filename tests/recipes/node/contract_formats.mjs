// Contract wallets that are deployed (EIP-1271) sign in, once, in every format; viem asks the same node, too.

import { MISMATCH, USED } from "./application.mjs";
import { newKey } from "./chain.mjs";
import { ContractWallet, Vault } from "./contract_wallet.mjs";
import { FORMATS } from "./formats.mjs";

export async function run(countersign, clients, transcript, chains) {
  const vault = new Vault(countersign, clients, transcript);
  const owners = [newKey(), newKey()];
  const addresses = owners.map(({ address }) => address);
  const one = await chains[1].deploy("OwnerWallet", addresses.slice(0, 1));
  const two = await chains[1].deploy("TwoOwnersWallet", addresses);
  await inEveryFormat(vault, new ContractWallet(chains[1], one, owners.slice(0, 1)));
  await inEveryFormat(vault, new ContractWallet(chains[1], two, owners));
  await atOnce(vault, new ContractWallet(chains[1], two, owners));
}

async function inEveryFormat(vault, wallet) {
  const { transcript } = vault;
  const accounts = new Set();
  for (const [format, challenge] of Object.entries(FORMATS)) {
    const asViemSees = seenByViem(wallet, transcript);
    const request = await challenge(vault, asViemSees);
    const strangers = await challenge(vault, withOwners(wallet, wallet.owners.map(newKey)));
    await vault.refused(`${format}, signed by other keys`, MISMATCH, strangers);
    const mixed = { ...request, signature: strangers.signature };
    await vault.refused(`${format}, another challenge's signature`, MISMATCH, mixed);
    const answer = await vault.verifyOnce(request);
    await vault.checkContract(`${format}, ${wallet.owners.length} owners`, answer, wallet);
    accounts.add(answer.account.id);
  }
  transcript.equal("one account, whatever the format", accounts.size, 1);
}

/** While the node is asked, the challenge is still unspent: whoever comes back first redeems it. */
async function atOnce(vault, wallet) {
  const request = await FORMATS.TEXT(vault, wallet);
  const calls = await Promise.allSettled(Array.from({ length: 8 }, () => vault.verify(request)));
  const answered = calls.filter(({ status }) => status === "fulfilled");
  vault.transcript.equal("attack 1: of eight at once, one signs in", answered.length, 1);
  await vault.refused("attack 1: and none later", USED, request);
}

function withOwners({ chain, address }, owners) {
  return new ContractWallet(chain, address, owners);
}

/** The wallet; but what it signs is first shown to viem, whose opinion is its own. */
function seenByViem(wallet, transcript) {
  const { address, network, chain } = wallet;
  const agrees = async (signature, verified) => {
    transcript.holds("viem has the contract accept it", await verified);
    return signature;
  };
  return {
    address,
    network,
    compose: (fields) => wallet.compose(fields),
    async signText(message) {
      const signature = await wallet.signText(message);
      return agrees(signature, chain.node.verifyMessage({ address, message, signature }));
    },
    async signTypedData(data) {
      const signature = await wallet.signTypedData(data);
      return agrees(signature, chain.node.verifyTypedData({ address, ...data, signature }));
    },
  };
}
