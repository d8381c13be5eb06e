// Runs every recipe, in JavaScript, against a running server: `node main.mjs SETUP.json`.

import { readFileSync } from "node:fs";

import * as bine from "./bine.mjs";
import * as brine from "./brine.mjs";
import { Countersign } from "./caller.mjs";
import * as cedalio from "./cedalio.mjs";
import { chainsOf } from "./chain.mjs";
import * as contractAnswers from "./contract_answers.mjs";
import * as contractChains from "./contract_chains.mjs";
import * as contractDelegated from "./contract_delegated.mjs";
import * as contractFormats from "./contract_formats.mjs";
import * as contractSessions from "./contract_sessions.mjs";
import * as contractUndeployed from "./contract_undeployed.mjs";
import * as ratio from "./ratio.mjs";
import * as refusals from "./refusals.mjs";
import * as siwe from "./siwe.mjs";
import * as solana from "./solana.mjs";
import { Transcript } from "./transcript.mjs";
import * as wallets from "./wallets.mjs";

const RECIPES = {
  ratio: ratio.run,
  brine: brine.run,
  cedalio: cedalio.run,
  "bine v1": bine.runV1,
  "bine v2": bine.runV2,
  siwe: siwe.run,
  solana: solana.run,
  refusals: refusals.run,
  wallets: wallets.run,
  "contract wallets": contractFormats.run,
  "contracts' answers": contractAnswers.run,
  "contracts' chains": contractChains.run,
  "contracts' sessions": contractSessions.run,
  "undeployed contracts": contractUndeployed.run,
  "delegated accounts": contractDelegated.run,
};

const setup = JSON.parse(readFileSync(process.argv[2], "utf8"));
const transcript = new Transcript(`node ${setup.store}`);
const countersign = new Countersign(setup);
try {
  const chains = chainsOf(setup);
  for (const [name, run] of Object.entries(RECIPES)) {
    transcript.recipe = name;
    await run(countersign, setup.clients, transcript, chains);
  }
} catch (why) {
  // An unexpected refusal is a failed check like any other.
  transcript.broken(why);
}
countersign.close();
transcript.close();
process.exitCode = transcript.failed ? 1 : 0;
