/** Our codec against that of protobuf-es, which is only here for this. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as es from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "../src/codec.js";
import * as errors from "../src/gen/cecochat/v1/errors_pb.js";
import * as events from "../src/gen/cecochat/v1/events_pb.js";
import * as history from "../src/gen/cecochat/v1/history_pb.js";
import * as messaging from "../src/gen/cecochat/v1/messaging_pb.js";
import * as schemas from "../src/gen/schemas.js";

type Desc = es.DescMessage;
type Any = { [key: string]: unknown };

const FILES = [errors, events, history, messaging];
const DESCS = FILES.flatMap((file) => Object.values(file as Any)).filter(isDesc);

function isDesc(each: unknown): each is Desc {
  return (each as Desc | undefined)?.kind === "message";
}

function schemaOf(desc: Desc): Parameters<typeof create>[0] {
  return (schemas as Any)[`${desc.name}Schema`] as Parameters<typeof create>[0];
}

const SCALARS = new Map<number, unknown[]>([
  [es.ScalarType.STRING, ["ünï🙂", ""]],
  [es.ScalarType.BOOL, [true, false]],
  [es.ScalarType.BYTES, [new Uint8Array([0, 255]), new Uint8Array()]],
  [es.ScalarType.DOUBLE, [1.5, 0]],
  [es.ScalarType.INT32, [-7, 0, 1 << 30]],
  [es.ScalarType.INT64, [-1n, 0n, (1n << 63n) - 1n]],
]);

/** A message with every field that can be set at once; `turn` chooses among values and cases. */
function filled(desc: Desc, turn: number): Any {
  const message: Any = {};
  for (const field of desc.fields) {
    const scalar = field.scalar ?? es.ScalarType.INT32;
    const values = field.message ? [filled(field.message, turn)] : SCALARS.get(scalar)!;
    const value = values[turn % values.length];
    if (field.fieldKind === "list") message[field.localName] = [value, value];
    else if (field.fieldKind === "map") message[field.localName] = { 0: 5n, 11: value };
    else if (!field.oneof) message[field.localName] = value;
    else if (field.oneof.fields[turn % field.oneof.fields.length] === field) {
      message[field.oneof.localName] = { case: field.localName, value };
    }
  }
  return message;
}

test("every message of the protos is known", () => {
  assert.ok(DESCS.length > 30);
  const unknown = DESCS.filter((desc) => !schemaOf(desc)).map((desc) => desc.name);
  assert.deepEqual(unknown, []);
});

test("messages, and their bytes, are those of protobuf-es", () => {
  for (const desc of DESCS) {
    const schema = schemaOf(desc);
    assert.deepEqual({ ...create(schema) }, { ...es.create(desc) }, desc.name);
    for (let turn = 0; turn < 24; turn++) {
      const init = filled(desc, turn) as never;
      const [ours, theirs] = [create(schema, init), es.create(desc, init)];
      assert.deepEqual({ ...ours }, { ...theirs }, desc.name);
      const bytes = es.toBinary(desc, theirs);
      assert.deepEqual(toBinary(schema, ours), bytes, desc.name);
      assert.deepEqual(fromBinary(schema, bytes), create(schema, init), desc.name);
    }
  }
});

test("fields of a later version are passed over", () => {
  const event = es.create(events.EventSchema, filled(events.EventSchema, 0) as never);
  const earlier = ["cecochat.v1.Event", [3, "chatId", 9, 0]] as const;
  const read = fromBinary(earlier, es.toBinary(events.EventSchema, event));
  assert.deepEqual(read, { $typeName: "cecochat.v1.Event", chatId: "ünï🙂" });
});

test("bytes that are cut off are refused", () => {
  const frame = es.create(messaging.ServerFrameSchema, { items: [{}, {}] });
  const welcome = filled(messaging.WelcomeSchema, 1) as never;
  frame.items[1]!.item = { case: "welcome", value: es.create(messaging.WelcomeSchema, welcome) };
  const bytes = es.toBinary(messaging.ServerFrameSchema, frame);
  assert.doesNotThrow(() => fromBinary(schemas.ServerFrameSchema, bytes));
  assert.throws(() => fromBinary(schemas.ServerFrameSchema, bytes.subarray(0, -1)));
});
