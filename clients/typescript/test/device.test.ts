import assert from "node:assert/strict";
import { test } from "node:test";
import { Device } from "../src/device.js";
import { CHAT, ack, caughtUp, delivered, event, item, send, welcome } from "./items.js";

function connected(offset = 0n): Device {
  const device = new Device("alice", "device");
  device.hello("test");
  device.receive(welcome(offset));
  device.receive(caughtUp(offset));
  return device;
}

function reopened(device: Device): Device {
  return Device.restored(JSON.parse(JSON.stringify(device.snapshot())));
}

test("an event is shown once, over any connection", () => {
  const device = connected();
  assert.equal(device.receive(delivered(1n, event(10n, "bob")))?.kind, "received");
  assert.equal(device.receive(delivered(1n, event(10n, "bob"))), undefined);
  const again = reopened(device);
  again.hello("test");
  assert.equal(again.receive(delivered(1n, event(10n, "bob"))), undefined);
  assert.equal(again.receive(delivered(2n, event(11n, "bob")))?.kind, "received");
});

test("nothing is written before it has caught up, and all is written again after that", () => {
  const device = new Device("alice");
  device.submit(send("s1"));
  device.hello("test");
  device.receive(welcome(5n));
  assert.equal(device.outgoing(10), undefined);
  device.receive(caughtUp(7n));
  device.submit(send("s2"));
  assert.deepEqual(written(device), [["s1", "s2"]]);
  device.receive(ack(8n, "s1", 80n));
  device.hello("test");
  device.receive(caughtUp(9n));
  assert.deepEqual(written(device), [["s2"]]);
});

function written(device: Device, max = 10): string[][] {
  const frames = [];
  for (let frame = device.outgoing(max); frame; frame = device.outgoing(max)) {
    frames.push(frame.sends.map((each) => each.clientMessageId));
  }
  return frames;
}

test("a frame holds neither too many sends nor too many bytes", () => {
  const device = connected();
  for (const id of ["a", "b", "c"]) device.submit(send(id));
  assert.deepEqual(written(device, 2), [["a", "b"], ["c"]]);
  for (const id of ["d", "e", "f"]) device.submit(send(id, "x".repeat(25_000)));
  assert.deepEqual(written(device), [["d", "e"], ["f"]]);
});

test("a frame says the position, and -1 without one", () => {
  const device = connected(7n);
  device.submit(send("a"));
  assert.equal(device.outgoing(1)?.offset, 7n);
});

test("the position moves in stream order, by whole places, and never back", () => {
  const device = connected(5n);
  device.receive(ack(3n, "old", 30n));
  assert.equal(device.position?.offset, 5n);
  device.receive(item({ case: "caughtUp", value: { offset: 5n, clockMs: 99n } }));
  assert.deepEqual([device.position?.offset, device.position?.clockMs], [5n, 99n]);
});

test("an own event that arrives while catching up is the answer", () => {
  const device = new Device("alice");
  device.submit(send("s1"));
  device.hello("test");
  device.receive(welcome(0n));
  const happening = device.receive(delivered(1n, event(10n, "alice", "s1")));
  assert.equal(happening?.kind, "sent");
  assert.equal(device.outbox.size, 0);
  assert.equal(device.shown.get(CHAT)?.get("alice"), 10n);
});

test("a refused send is never sent again", () => {
  const device = connected();
  device.submit(send("s1"));
  const refused = item({ case: "refused", value: { clientMessageId: "s1", error: {} } });
  const rejected = () =>
    device.receive(refused) as { kind: string; send?: { clientMessageId: string } };
  assert.equal(rejected().send?.clientMessageId, "s1");
  assert.deepEqual([rejected().kind, rejected().send], ["rejected", undefined]);
  assert.equal(device.outgoing(1), undefined);
});

test("a send says what was seen of its chat", () => {
  const device = connected();
  device.receive(delivered(1n, event(10n, "bob")));
  const answer = send("s1");
  device.submit(answer);
  assert.equal(answer.seenId, 10n);
});

const partition = (user: string): number => (user === "alice" ? 1 : 2);
const id = (of: number, sequence: bigint): bigint => (1n << 22n) | (BigInt(of) << 10n) | sequence;

function gapped(): Device {
  const device = new Device("alice", "device", partition);
  device.hello("test");
  device.receive(welcome(0n, { 1: id(1, 1n), 2: id(2, 1n) }));
  device.hello("test");
  device.receive(welcome(9n, { 1: id(1, 5n), 2: id(2, 5n) }));
  const gap = { fromOffset: 0n, toOffset: 9n };
  assert.equal(device.receive(item({ case: "gap", value: gap }))?.kind, "gapped");
  return device;
}

test("a gap moves the position only once it is filled", () => {
  const device = gapped();
  assert.equal(device.position?.offset, 0n);
  assert.throws(() => device.receive(caughtUp(9n)));
  device.filled();
  assert.equal(device.position?.offset, 9n);
});

test("of a page, only what the device missed and the stream does not bring is shown", () => {
  const device = gapped();
  const shown = [1n, 2n, 5n, 6n].map((n) => device.fill(event(id(2, n), "bob"))?.kind);
  assert.deepEqual(shown, [undefined, "received", "received", undefined]);
  assert.equal(device.shownUpTo(CHAT), id(1, 1n));
});

test("a snapshot is the whole device, and the same as the Python client's", () => {
  const device = connected(5n);
  device.receive(delivered(6n, event(10n, "bob")));
  device.submit(send("s1", "hi"));
  const kept = {
    user_id: "alice",
    device_id: "device",
    position: { logId: "log", offset: "6", clockMs: "6" },
    outbox: [{ clientMessageId: "s1", chatId: CHAT, seenId: "10", message: { text: "hi" } }],
    shown: { [CHAT]: { bob: "10" } },
    since: {},
    partition_count: 12,
  };
  assert.deepEqual(device.snapshot(), kept);
  assert.deepEqual(reopened(device).snapshot(), kept);
});

test("an item of a later version is ignored", () => {
  assert.equal(connected().receive(item({ case: undefined })), undefined);
});
