import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "../src/codec.js";
import { Device } from "../src/device.js";
import { ReadTokenSchema } from "../src/gen/schemas.js";
import type { ReadToken } from "../src/gen/cecochat/v1/messaging_pb.js";
import { type Owner, LocalDevice } from "../src/local.js";
import { ack, delivered, event, item, welcome } from "./items.js";

function local(): LocalDevice {
  const nothing = (): void => {};
  const owner = { changed: nothing, drained: nothing, failed: nothing, toWrite: nothing };
  const others = {
    toTell: nothing,
    signalled: nothing,
    keepMessage: nothing,
    take: async () => {},
  };
  return new LocalDevice(new Device("alice", "device"), { ...owner, ...others } as Owner, false);
}

function token(places: Record<number, [bigint, bigint]>): ReadToken {
  const made = create(ReadTokenSchema, { logId: "log" });
  for (const [partition, [offset, clockMs]] of Object.entries(places)) {
    made.offsets[Number(partition)] = offset;
    made.clocks[Number(partition)] = clockMs;
  }
  return made;
}

test("reads ask for all own messages, however they were answered", () => {
  const device = local();
  device.receive(welcome(5n));
  assert.equal(device.readToken(), undefined); // of an earlier server
  device.receive(ack(20n, "one", 9n));
  device.receive(ack(10n, "again", 1n));
  device.receive(delivered(25n, event(10n, "bob")));
  assert.deepEqual(device.readToken(), token({ 0: [20n, 20n] }));
  device.receive(delivered(30n, event(11n, "alice")));
  assert.deepEqual(device.readToken(), token({ 0: [30n, 30n] }));
  const elsewhere = { logId: "another", partition: 0, offset: 1n, clockMs: 1n };
  device.receive(item({ case: "welcome", value: { position: elsewhere } }));
  assert.equal(device.readToken(), undefined);
});

test("reads ask for what was accepted before the session", () => {
  const device = local();
  const position = { logId: "log", partition: 0, offset: 5n, clockMs: 5n };
  const before = token({ 0: [5n, 5n], 7: [40n, 4n] });
  const begins = item({ case: "welcome", value: { position, token: before } });
  device.receive(begins);
  assert.deepEqual(device.readToken(), before);
  device.receive(ack(20n, "one", 9n));
  const ofGroup = { clientMessageId: "two", messageId: 7n << 10n, offset: 21n, clockMs: 21n };
  const home = { homeOffset: 44n, homeClockMs: 6n };
  device.receive(item({ case: "ack", value: { ...ofGroup, ...home } }));
  const later = token({ 0: [20n, 20n], 7: [44n, 6n] });
  assert.deepEqual(device.readToken(), later);
  device.receive(begins);
  assert.deepEqual(device.readToken(), later);
});
