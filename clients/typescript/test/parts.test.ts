import assert from "node:assert/strict";
import { test } from "node:test";
import { waitMs } from "../src/backoff.js";
import { ChatError, SendRejected, fromData, toData } from "../src/errors.js";
import { Lookup, userIn } from "../src/lookup.js";
import { Marks } from "../src/marks.js";

test("the ceiling of a wait doubles from 0.5 to 20 s, and a wait is drawn from below it", () => {
  const ceilings = [0, 1, 2, 5, 6, 100].map((attempt) => waitMs(attempt, 1));
  assert.deepEqual(ceilings, [500, 1_000, 2_000, 16_000, 20_000, 20_000]);
  assert.equal(waitMs(3, 0.25), 1_000);
  assert.ok(waitMs(0, 0) > 0);
});

test("a hidden page is in no hurry, and servers can only slow a client down", () => {
  assert.equal(waitMs(0, 1, { hidden: true }), 20_000);
  assert.equal(waitMs(0, 1, { asked: { base_s: 0.1, max_s: 5 } }), 500);
  assert.equal(waitMs(9, 1, { asked: { base_s: 2, max_s: 60 } }), 60_000);
  assert.equal(waitMs(0, 1, { asked: { base_s: 2, max_s: 60 } }), 2_000);
  assert.equal(waitMs(0, 0.5, { atLeastMs: 3_000 }), 3_750);
});

test("marks only move up, and a chat has one receipt under way", () => {
  const marks = new Marks();
  marks.note("chat", "deliveredUpTo", 5n);
  marks.note("chat", "readUpTo", 3n);
  marks.note("chat", "readUpTo", 2n);
  assert.deepEqual(marks.take(), [["chat", { deliveredUpTo: 5n, readUpTo: 3n }]]);
  marks.note("chat", "readUpTo", 5n);
  assert.deepEqual(marks.take(), []);
  assert.equal(marks.answered("chat"), true);
  assert.equal(marks.take().length, 1);
  assert.equal(marks.answered("chat"), false);
  marks.note("chat", "deliveredUpTo", 4n); // no news
  assert.deepEqual(marks.take(), []);
  assert.ok(marks.idle);
});

test("the user is read from a token", () => {
  const token = (claims: object): string => `x.${btoa(JSON.stringify(claims))}.x`;
  assert.equal(userIn(token({ sub: "alice" })), "alice");
  for (const wrong of ["opaque", "a.b.c", token({}), token({ sub: 7 })]) {
    assert.equal(userIn(wrong), undefined, wrong);
  }
});

function connectServer(answers: (Response | Error)[]): typeof fetch {
  return async () => {
    const answer = answers.shift()!;
    if (answer instanceof Error) throw answer;
    return answer;
  };
}

const route = { user_id: "alice", server_id: "m1", websocket: "ws://m1", backoff: {} };

test("while the connect server is away, its last answer is used as long as it is valid", async () => {
  const away = new TypeError("fetch failed");
  const valid = Response.json({ ...route, valid_for_s: 60 });
  const lookup = new Lookup("http://c", "token", connectServer([valid, away, away]));
  assert.equal((await lookup.find())[0].websocket, "ws://m1");
  assert.equal((await lookup.find())[0].websocket, "ws://m1");
  lookup.forget();
  await assert.rejects(lookup.find(), { code: "not_reachable", retriable: true });
});

test("a refusal of the connect server keeps its code, and other answers are no server's", async () => {
  const error = { code: "rate_limited", message: "wait", retriable: true, retry_after_ms: 7 };
  const refusal = Response.json({ error }, { status: 429 });
  const html = new Response("<html>", { status: 200 });
  const lookup = new Lookup("http://c", "token", connectServer([refusal, html]));
  await assert.rejects(lookup.find(), { code: "rate_limited", retryAfterMs: 7 });
  await assert.rejects(lookup.find(), { code: "not_reachable" });
});

test("a revoked token is never used again", async () => {
  let token = "first";
  const lookup = new Lookup("http://c", () => token, connectServer([]));
  const revoked = new ChatError("token_revoked", "revoked");
  lookup.note(revoked, await lookup.token());
  assert.ok(lookup.mends(revoked));
  await assert.rejects(lookup.token(), { code: "no_other_token", retriable: false });
  token = "second";
  assert.equal(await lookup.token(), "second");
  assert.equal(new Lookup("http://c", "fixed", fetch).mends(revoked), false);
});

test("an error keeps its fields on the way to another tab", () => {
  for (const error of [
    new ChatError("slow", "read faster", true, 5),
    new SendRejected("c1", "too_large", "no"),
  ]) {
    const again = fromData(structuredClone(toData(error)));
    assert.deepEqual(again, error);
    assert.equal(again.name, error.name);
  }
});
