/** The client passes the conformance kit, and fails without any of its rules. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { without } from "./kit/ablation.js";
import { ABLATIONS } from "./kit/ablations.js";
import { CASES, RULES } from "./kit/case.js";
import { play } from "./kit/player.js";

for (const each of CASES) test(each.name, () => play(each));

test("every rule has an ablation", () => {
  assert.deepEqual(
    Object.keys(ABLATIONS),
    RULES.map((rule) => rule.name),
  );
});

for (const { name, case: named } of RULES) {
  test(`the kit finds a client that lacks: ${name}`, async () => {
    const found = CASES.find((each) => each.name === named)!;
    await assert.rejects(
      without(ABLATIONS[name]!, () => play(found)),
      assert.AssertionError,
    );
  });
}
