// One line per check; the first that does not hold ends the run.

import { isDeepStrictEqual } from "node:util";

/** A check did not hold. */
class Failed extends Error {}

/** Prints what was checked, and counts it. */
export class Transcript {
  recipe = "";
  passed = 0;
  failed = 0;

  constructor(who) {
    this.who = who;
  }

  equal(what, got, expected) {
    const otherwise = `got ${JSON.stringify(got)}, expected ${JSON.stringify(expected)}`;
    this.holds(what, isDeepStrictEqual(got, expected), otherwise);
  }

  holds(what, truth, otherwise = "it does not hold") {
    if (!truth) throw new Failed(`${what}: ${otherwise}`);
    this.passed += 1;
    console.log(`ok      ${this.who} ${this.recipe}: ${what}`);
  }

  broken(why) {
    this.failed += 1;
    console.log(`FAILED  ${this.who} ${this.recipe}: ${why.message}`);
  }

  close() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
  }
}
