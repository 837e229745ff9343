/** What the page knows of a group, and how it says what has changed there. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../src/model/conversation.ts";
import { inWords, may, mayRemove } from "../src/model/group.ts";
import { rowsOf } from "../src/model/rows.ts";

const AT = new Date("2026-11-29T10:00:00Z");
const NOTHING = { userId: "alice", added: [], removed: [], invited: [], banned: [], unbanned: [], appointed: [] };
const US = { name: "Us", isChannel: false };

function message(id, from, note) {
  return { id, from, text: `text ${id}`, at: AT, key: `k${id}`, ...(note !== undefined && { note }) };
}

test("each change is said in words", () => {
  const many = ["b", "c", "d", "e", "f", "g"];
  for (const [what, words] of [
    [{}, ""],
    [{ added: ["alice", "bob", "carol"], options: US }, "alice created “Us” with bob and carol"],
    [{ added: ["alice"], options: US, appointed: [{ userId: "alice", role: "owner" }] }, "alice created “Us”"],
    [{ added: ["alice"] }, "alice joined"],
    [{ added: many }, "alice added b, c, d, e and 2 more"],
    [{ removed: ["bob"] }, "alice removed bob"],
    [{ invited: ["bob"] }, "alice invited bob"],
    [{ removed: ["bob"], banned: ["bob"] }, "alice banned bob"],
    [{ unbanned: ["bob"] }, "alice lifted the ban of bob"],
    [{ appointed: [{ userId: "bob", role: "muted" }] }, "alice made bob muted"],
    [{ options: US }, "alice changed the group to “Us”"],
    [
      { options: { ...US, isChannel: true, isOpen: true, hidesPast: true } },
      "alice changed the group to “Us” (only admins write, open to all, past hidden from new members)",
    ],
    [{ appointed: [{ userId: "bob", role: "admin" }] }, "alice made bob an admin"],
    [{ removed: ["alice"], appointed: [{ userId: "bob", role: "owner" }] }, "alice left and made bob the owner"],
  ]) {
    assert.equal(inWords({ ...NOTHING, ...what }), words);
  }
});

test("a change is a line of its own, and never unread", () => {
  const chat = new Conversation("alice", "g:us");
  chat.add(message(1n, "bob", "bob added alice"));
  chat.add(message(2n, "bob"));
  chat.add(message(3n, "carol"));
  chat.add(message(4n, "bob", ""));
  chat.add(message(5n, "carol", "carol left"));
  assert.equal(chat.unread, 2);
  assert.equal(chat.newestOfPeer.id, 3n);
  assert.equal(chat.newestChange, 5n);
  const kinds = rowsOf(chat).map(({ kind, text }) => [kind, text]);
  assert.deepEqual(kinds.slice(1), [
    ["note", "bob added alice"],
    ["said", "text 2"],
    ["said", "text 3"],
    ["note", "carol left"],
  ]);
});

test("who may write in a group follows from what the group and the user are", () => {
  const chat = new Conversation("alice", "g:us");
  assert.equal(chat.name, "g:us");
  for (const [isChannel, role, canWrite] of [
    [false, "member", true],
    [true, "member", false],
    [true, "admin", true],
    [false, undefined, false],
  ]) {
    chat.group = { name: "Us", isChannel, role };
    assert.equal(chat.canWrite, canWrite);
  }
  assert.equal(chat.name, "Us");
  assert.equal(new Conversation("alice", "bob").canWrite, true);
});

test("what a user may do in a group follows from their role, as docs/how-to/groups.md has it", () => {
  const acts = ["write", "leave", "moderate", "add", "invite", "remove", "rename", "appoint"];
  const allowed = (role, isChannel = false) => acts.filter((act) => may({ name: "Us", isChannel, role }, act));
  assert.deepEqual(allowed(undefined), []);
  assert.deepEqual(allowed("member"), ["write", "leave"]);
  assert.deepEqual(allowed("member", true), ["leave"]);
  assert.deepEqual(allowed("admin", true), acts.slice(0, -1));
  assert.deepEqual(allowed("owner"), acts);
  assert.equal(may(undefined, "leave"), false);
});

test("who may remove has a higher role than who goes", () => {
  const removed = (role) =>
    [undefined, "member", "admin", "owner"].filter((theirs) => mayRemove({ ...US, role }, theirs));
  assert.deepEqual(removed("member"), []);
  assert.deepEqual(removed("admin"), [undefined, "member"]);
  assert.deepEqual(removed("owner"), [undefined, "member", "admin"]);
});
