/** What the page knows of a chat, when one thing is told in two ways. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Chats } from "../src/model/chats.ts";
import { Conversation } from "../src/model/conversation.ts";
import { rowsOf } from "../src/model/rows.ts";

const AT = new Date("2026-11-29T10:00:00Z");

function message(id, from, key = `k${id}`) {
  return { id, from, text: `text of ${key}`, at: AT, key };
}

function outgoing(key) {
  return { key, text: `text of ${key}`, at: AT };
}

/** Return what a person reads, and whether it waits. */
function read(chat) {
  return rowsOf(chat)
    .filter((row) => row.kind === "said")
    .map(({ text, tick }) => `${text}, ${tick}`);
}

test("what waits becomes a message, once, whatever is told first", () => {
  const answeredLater = new Conversation("alice", "bob");
  answeredLater.say(outgoing("mine"));
  assert.deepEqual(read(answeredLater), ["text of mine, waiting"]);
  answeredLater.add(message(5n, "alice", "mine"));
  assert.deepEqual(read(answeredLater), ["text of mine, sent"]);

  const answeredFirst = new Conversation("alice", "bob");
  answeredFirst.add(message(5n, "alice", "mine"));
  answeredFirst.say(outgoing("mine"));
  assert.deepEqual(read(answeredFirst), ["text of mine, sent"]);
  assert.deepEqual(answeredFirst.outgoing, []);
});

test("a message that is told again does not bring back what waits for another", () => {
  const chat = new Conversation("alice", "bob");
  chat.say(outgoing("one"));
  chat.say(outgoing("two"));
  assert.equal(chat.add(message(5n, "alice", "one")), true);
  assert.equal(chat.add(message(5n, "alice", "one")), false);
  assert.deepEqual(read(chat), ["text of one, sent", "text of two, waiting"]);
});

test("what was written last is edited, or nothing", () => {
  const chat = new Conversation("alice", "bob");
  chat.add(message(1n, "alice"));
  chat.say(outgoing("waits"));
  assert.equal(chat.newestOwn, undefined);
  chat.refuse("waits", "too long");
  assert.equal(chat.newestOwn?.id, 1n);
});

test("the same key of the other user is another message", () => {
  const chat = new Conversation("alice", "bob");
  chat.add(message(5n, "bob", "same"));
  chat.say(outgoing("same"));
  assert.equal(read(chat).length, 2);
  chat.add(message(6n, "bob", "same"));
  assert.deepEqual(
    chat.outgoing.map((each) => each.key),
    ["same"],
  );
});

test("what has become of a message takes its place, and a deleted one is not unread", () => {
  const chats = new Chats("alice");
  const chat = chats.with("bob");
  const said = (id, more = {}) => ({ id, from: "bob", text: "said", at: new Date(0), key: "", ...more });
  [1n, 2n].forEach((id) => chat.add(said(id)));
  assert.equal(chat.unread, 2);
  chats.changed("bob", said(2n, { text: "", deleted: true }));
  assert.equal(chat.unread, 1);
  assert.equal(chats.lastOf(chat).deleted, true);
  chats.changed("bob", said(9n)); // not here
  assert.deepEqual(
    chat.messages.map(({ id }) => id),
    [1n, 2n],
  );
});

/** A line of the list, of a chat with bob. */
function line(last, more = {}) {
  const counts = { unread: 0, mentions: 0, readUpTo: 0n, changeId: 0n };
  const settings = { archived: false, pinned: false };
  return { peer: "bob", group: undefined, settings, ...counts, last, marks: undefined, holes: [], isRequest: false, ...more };
}

test("a request is none any more once this user has written or accepted it, whatever an older list says", () => {
  const said = (id, from) => ({ id, from, text: "said", at: new Date(0), key: `${id}` });
  const asked = () => {
    const chats = new Chats("alice");
    return [chats, chats.list(line(said(2n, "bob"), { isRequest: true, unread: 1 }))];
  };
  let [chats, chat] = asked();
  assert.equal(chat.isRequest, true);
  assert.equal(chats.unread, 0, "it is counted apart");
  chat.add(said(3n, "alice"));
  chats.list(line(said(2n, "bob"), { isRequest: true }));
  assert.equal(chat.isRequest, false);
  [chats, chat] = asked();
  chat.settings.want("key", { archived: false, pinned: false, accepted: true });
  assert.equal(chat.isRequest, false);
  assert.equal(chats.unread, 1);
  chat.settings.settle("key"); // it was refused
  assert.equal(chat.isRequest, true);
});

test("a message that the server counted as unread, and that is deleted then, is not", () => {
  const said = (id, more = {}) => ({ id, from: "bob", text: "said", at: new Date(0), key: "", ...more });
  const chats = new Chats("alice");
  const chat = chats.with("bob");
  chat.add(said(2n));
  chats.list(line(said(2n), { unread: 1 }));
  assert.equal(chat.unread, 1);
  chats.changed("bob", said(2n, { text: "", deleted: true, changeId: 3n }));
  assert.equal(chat.unread, 0);
  chats.changed("bob", said(2n, { text: "", deleted: true, changeId: 3n }));
  assert.equal(chat.unread, 0);
});

test("mentions are counted as unread messages are, and as the messages are now", () => {
  const said = (id, more = {}) => ({ id, from: "bob", text: "said", at: new Date(0), key: "", ...more });
  const chats = new Chats("alice");
  const chat = chats.with("bob");
  const counts = () => [chat.unread, chat.mentions];
  chat.add(said(1n, { mentionsMe: true }));
  chats.list(line(said(5n), { unread: 3, mentions: 1, changeId: 6n })); // not all of them are here
  chat.read(2n);
  [4n, 5n].forEach((id) => chat.add(said(id)));
  assert.deepEqual(counts(), [3, 1]);
  chats.changed("bob", said(4n, { mentionsMe: true, changeId: 6n })); // the server knew
  assert.deepEqual(counts(), [3, 1]);
  chats.changed("bob", said(5n, { mentionsMe: true, changeId: 7n }));
  assert.deepEqual(counts(), [3, 2]);
  chats.changed("bob", said(5n, { text: "", deleted: true, changeId: 8n }));
  assert.deepEqual(counts(), [2, 1]);
  chats.changed("bob", said(1n, { mentionsMe: true, changeId: 9n })); // it has been read
  chat.add(said(10n, { mentionsMe: true }));
  assert.deepEqual(counts(), [3, 2]);
  chats.changed("bob", said(10n, { changeId: 11n }));
  assert.deepEqual(counts(), [3, 1]);
  chat.read(10n);
  assert.deepEqual(counts(), [0, 0]);
});

test("a reply quotes what it answers as that is now", () => {
  const chat = new Conversation("alice", "bob");
  const said = (id, more = {}) => ({ id, from: "bob", text: "said", at: new Date(0), key: `${id}`, ...more });
  [said(1n), said(2n, { replyTo: 1n }), said(3n, { replyTo: 99n })].forEach((each) => chat.add(each));
  chat.add(said(1n, { text: "edited", edited: true }));
  const quoted = rowsOf(chat).filter(({ kind }) => kind === "said").map((row) => row.quoted?.text);
  assert.deepEqual(quoted, [undefined, "edited", undefined]);
  assert.deepEqual(chat.unknownQuotes, [99n]);
  chat.quoted.set(99n, said(99n, { text: "older" }));
  assert.deepEqual(chat.unknownQuotes, []);
  assert.equal(rowsOf(chat).at(-1).quoted.text, "older");
});
