// Writes siwe.json, viem.json and solana.json: the texts that npm's libraries make of cases.json.
//
//   npm install siwe@3.0.0 viem@2.56.1 @solana/wallet-standard-util@1.1.2   (outside this repository)
//   node generate.mjs FOLDER_WITH_NODE_MODULES

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const load = createRequire(resolve(process.argv[2], "package.json"));
const { SiweMessage } = load("siwe");
const { createSiweMessage } = load("viem/siwe");
const { createSignInMessageText } = load("@solana/wallet-standard-util");

const here = new URL(".", import.meta.url);
const cases = JSON.parse(readFileSync(new URL("cases.json", here)));
const times = ["issuedAt", "expirationTime", "notBefore"];

const mapTimes = (fields, map) =>
  Object.fromEntries(times.filter((time) => time in fields).map((time) => [time, map(fields[time])]));

function write(file, library, network, inputs, textOf, normalised = (fields) => fields) {
  const vectors = inputs.map(({ name, not_by: _, ...input }) => {
    const fields = normalised(input);
    const milliseconds = mapTimes(input, Date.parse);
    return { name, fields: { ...fields, chainId: String(input.chainId) }, milliseconds, text: textOf(input) };
  });
  writeFileSync(new URL(file, here), `${JSON.stringify({ library, network, vectors }, null, 2)}\n`);
}

const by = (library) => cases.ethereum.filter((fields) => !fields.not_by?.includes(library));

write("siwe.json", "siwe 3.0.0 (npm)", "eip155", by("siwe"), (fields) =>
  new SiweMessage({ version: "1", ...fields }).prepareMessage(),
);
write(
  "viem.json",
  "viem 2.56.1 (npm)",
  "eip155",
  by("viem"),
  (fields) => createSiweMessage({ version: "1", ...fields, ...mapTimes(fields, (time) => new Date(time)) }),
  (fields) => ({ ...fields, ...mapTimes(fields, (time) => new Date(time).toISOString()) }),
);
write("solana.json", "@solana/wallet-standard-util 1.1.2 (npm)", "solana", cases.solana, (fields) =>
  createSignInMessageText({ version: "1", ...fields }),
);
