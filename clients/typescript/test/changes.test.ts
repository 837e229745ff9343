import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fromJson } from "@bufbuild/protobuf";
import { Changes } from "../src/changes.js";
import { type Event, EventSchema } from "../src/gen/cecochat/v1/events_pb.js";

interface Case {
  about: string;
  message: never;
  changes: never[];
  now: unknown;
}

const FILE = new URL("../../../../conformance/changes.json", import.meta.url);
const CASES = JSON.parse(readFileSync(FILE, "utf8")) as Case[];

function now(message: Event, changes: Event[]): unknown {
  const { text, revisionId, deletionId, reactions } = new Changes(changes).of(message);
  return {
    text,
    revisionId: `${revisionId}`,
    deletionId: `${deletionId}`,
    reactions: Object.fromEntries(reactions),
  };
}

for (const { about, message, changes, now: expected } of CASES) {
  test(about, () => {
    const [of, some] = [
      fromJson(EventSchema, message),
      changes.map((each) => fromJson(EventSchema, each)),
    ];
    for (const order of [some, [...some].reverse(), [...some, ...some]]) {
      assert.deepEqual(now(of, order), expected);
    }
  });
}

test("a change says whether anything is different", () => {
  const changes = new Changes();
  const edit = fromJson(EventSchema, {
    id: "2",
    userId: "alice",
    edit: { messageId: "1", text: "x" },
  });
  assert.equal(changes.add(edit), true);
  assert.equal(changes.add(edit), false);
});
