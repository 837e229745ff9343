/** What the page knows of how a user wants to have a chat. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Chats } from "../src/model/chats.ts";
import { FOR_GOOD } from "../src/model/settings.ts";

const AT = new Date("2026-11-29T10:00:00Z");
const PLAIN = { archived: false, pinned: false };
const PINNED = { ...PLAIN, pinned: true };
const ARCHIVED = { ...PLAIN, archived: true };

function settings() {
  return new Chats("alice").with("bob").settings;
}

test("what was told counts by its id, and more than a list, which may be older", () => {
  const set = settings();
  assert.deepEqual(set.now, PLAIN);
  set.list(ARCHIVED);
  assert.deepEqual(set.now, ARCHIVED);
  set.tell(5n, PINNED);
  set.tell(4n, PLAIN);
  set.list(ARCHIVED);
  assert.deepEqual(set.now, PINNED);
});

test("what this page wants is shown until it is accepted or refused", () => {
  const set = settings();
  set.want("first", PINNED);
  set.want("second", { ...set.now, archived: true });
  set.tell(5n, PINNED, "first"); // the second is still on its way
  set.tell(6n, PLAIN); // of another device
  assert.deepEqual(set.now, { archived: true, pinned: true });
  set.tell(7n, { archived: true, pinned: true }, "second");
  set.tell(8n, PLAIN);
  assert.deepEqual(set.now, PLAIN);
  set.want("third", ARCHIVED);
  set.settle("first");
  assert.deepEqual(set.now, ARCHIVED);
  set.settle("third");
  assert.deepEqual(set.now, PLAIN);
});

test("a chat is muted until a time", () => {
  const set = settings();
  assert.equal(set.isMuted(AT), false);
  set.tell(5n, { ...PLAIN, mutedUntil: AT });
  assert.equal(set.isMuted(new Date(AT.getTime() - 1)), true);
  assert.equal(set.isMuted(AT), false);
});

/** Chats that were used in the order of their names, and what is set for some. */
function chats(set) {
  const all = new Chats("alice");
  ["a", "b", "c", "d"].forEach((peer, at) => {
    const id = BigInt(at + 1);
    all.with(peer).add({ id, from: peer, text: "said", at: new Date(AT.getTime() + at), key: peer });
    if (set[peer]) all.with(peer).settings.list({ ...PLAIN, ...set[peer] });
  });
  return all;
}

test("pinned chats come first and archived ones last, each in the order of their last line", () => {
  const order = (set) => chats(set).sorted.map(({ peer }) => peer).join("");
  assert.equal(order({}), "dcba");
  assert.equal(order({ a: { pinned: true }, b: { pinned: true } }), "badc");
  assert.equal(order({ d: { archived: true }, c: { archived: true, pinned: true } }), "bacd");
});

test("what is unread in muted chats does not count, and time ends that", () => {
  const soon = new Date(Date.now() + 60_000);
  const all = chats({ a: { mutedUntil: FOR_GOOD }, b: { mutedUntil: soon }, c: { mutedUntil: AT } });
  assert.equal(all.unread, 2);
  assert.equal(all.nextHeardMs(), soon.getTime());
  assert.equal(chats({ c: { mutedUntil: AT } }).nextHeardMs(), undefined);
});
