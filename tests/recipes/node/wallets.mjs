// Independent wallets: viem, web3.js and Solana's web3.js sign, in every format that they have.

import { createRequire } from "node:module";

import { Keypair } from "@solana/web3.js";
import { encodeBase58 } from "ethers";
import { SiweMessage } from "siwe";
import { createSiweMessage } from "viem/siwe";
import { Web3 } from "web3";
import { getEncodedEip712Data } from "web3-eth-abi";
import { signRaw } from "web3-eth-accounts";

import { Application, MISMATCH } from "./application.mjs";
import { newKey } from "./chain.mjs";
import { FORMATS } from "./formats.mjs";

const MAIN_NET = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";

export async function run(countersign, clients, transcript) {
  const plain = new Application(countersign, clients, "plain", transcript);
  for (const Kind of [ViemWallet, Web3Wallet, SolanaWallet]) {
    const wallet = new Kind();
    const stranger = Object.assign(new Kind(), { address: wallet.address });
    for (const [format, challenge] of Object.entries(FORMATS)) {
      if (wallet.lacks?.includes(format)) continue;
      const what = `${Kind.name}, ${format}`;
      await plain.refused(`${what}, by another key`, MISMATCH, await challenge(plain, stranger));
      const answer = await plain.verifyOnce(await challenge(plain, wallet));
      await check(countersign, plain, what, answer, wallet);
    }
  }
}

async function check(countersign, { client, transcript }, what, { verification, tokens }, wallet) {
  const { claims } = await countersign.verifyAccessToken(tokens.access_token, client.client_id);
  const got = [verification.method, verification.address, verification.network, claims.wallet_kind];
  transcript.equal(what, got, [wallet.method, wallet.address, wallet.network, wallet.kind]);
}

class ViemWallet {
  #key = newKey();
  address = this.#key.address;
  network = "eip155:1";
  method = "VERIFICATION_METHOD_EOA";
  kind = "eoa";

  signText(message) {
    return this.#key.signMessage({ message });
  }

  signTypedData(data) {
    return this.#key.signTypedData(data);
  }

  compose(fields) {
    return createSiweMessage({ ...fields, address: this.address, chainId: 1 });
  }
}

/** web3.js, with the EIP-4361 text of the package `siwe`. */
class Web3Wallet {
  #key = new Web3().eth.accounts.create();
  address = this.#key.address;
  network = "eip155:1";
  method = "VERIFICATION_METHOD_EOA";
  kind = "eoa";

  signText(message) {
    return this.#key.sign(message).signature;
  }

  /** EIP-712's digest is that of these bytes: hashed, and not prefixed any more. */
  signTypedData(data) {
    return signRaw(getEncodedEip712Data(data, false), this.#key.privateKey).signature;
  }

  compose(fields) {
    return new SiweMessage({ ...fields, address: this.address, chainId: 1 }).prepareMessage();
  }
}

// Solana's web3.js signs transactions alone; texts are signed by the Ed25519 that it brings for that.
const { ed25519 } = createRequire(import.meta.resolve("@solana/web3.js"))("@noble/curves/ed25519");

class SolanaWallet {
  #key = Keypair.generate();
  address = this.#key.publicKey.toBase58();
  network = MAIN_NET;
  method = "VERIFICATION_METHOD_ED25519";
  kind = "ed25519";
  lacks = ["TYPED_DATA"];

  signText(text) {
    const secret = this.#key.secretKey.subarray(0, 32);
    return encodeBase58(ed25519.sign(Buffer.from(text, "utf8"), secret));
  }

  /** The text of CAIP-122 for Solana: EIP-4361's, with another account in the heading. */
  compose({ domain, statement, uri, version, nonce }) {
    return [
      `${domain} wants you to sign in with your Solana account:`,
      this.address,
      "",
      statement,
      "",
      `URI: ${uri}`,
      `Version: ${version}`,
      `Chain ID: ${MAIN_NET.split(":")[1]}`,
      `Nonce: ${nonce}`,
      `Issued At: ${new Date().toISOString()}`,
    ].join("\n");
  }
}
