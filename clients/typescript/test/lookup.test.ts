import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../src/connect.js";
import { ChatError } from "../src/errors.js";
import type { Status } from "../src/events.js";
import { type Fetch, Lookup } from "../src/lookup.js";
import { memory } from "../src/storage.js";

const URL = "https://chat.example.com";
const never = (): Promise<never> => new Promise(() => {});
class NoSocket {}

/** A connect server that answers everybody. */
const answering: Fetch = async () =>
  Response.json({ user_id: "alice", server_id: "m1", valid_for_s: 60, backoff: {} });

test("the token of a connection serves all queries, until one is refused", async () => {
  let asked = 0;
  const lookup = new Lookup(URL, () => `token ${++asked}`, answering);
  assert.equal((await lookup.find())[1], "token 1");
  for (let n = 0; n < 10; n++) assert.equal((await lookup.current())[1], "token 1");
  lookup.forget(); // as a query does that was refused
  assert.equal((await lookup.current())[1], "token 2");
  assert.equal(await lookup.token(), "token 3"); // as when a token ends
  assert.equal((await lookup.current())[1], "token 3");
  assert.equal(asked, 3);
});

test("with a user id, stored messages are there while nobody gives a token", async () => {
  const storage = memory();
  const kept = await storage.open(URL, "alice");
  const chatId = "d:alice~bob";
  const message = { id: 1n, chatId, userId: "bob", text: "hi", clientMessageId: "" };
  const stored = { ...message, sentAt: new Date(0) };
  await kept.save({ user_id: "alice", position: null, outbox: [], shown: {} }, [stored]);
  for (const token of [never, () => Promise.reject(new Error("the back end is away"))]) {
    const options = { url: URL, token, userId: "alice", storage, fetch: never };
    const client = await connect({ ...options, WebSocket: NoSocket });
    assert.deepEqual(await client.recent("bob"), [stored]);
    void client.send("bob", "later").catch(() => {});
    assert.equal((await client.queued("bob"))[0]?.text, "later");
    if (token !== never) {
      const status = await until(client, (each) => each.state === "waiting");
      assert.match((status as Status & { error: ChatError }).error.message, /is away/);
      await client.close();
    }
  }
});

test("an error of the token function that is not retriable ends it", async () => {
  const token = (): never => {
    throw new ChatError("logged_out", "log in again");
  };
  const options = { url: URL, token, fetch: never, WebSocket: NoSocket };
  await assert.rejects(connect(options), { code: "logged_out" });
  const client = await connect({ ...options, userId: "alice" });
  const status = await until(client, (each) => each.state === "closed");
  assert.equal((status as Status & { error: ChatError }).error.code, "logged_out");
});

const NO_TOKENS: unknown[] = ["", "two\nlines", "caf\xe9", undefined, null, 7, {}];

test("a token function that returns no token is told so, and not asked again", async () => {
  for (const returned of NO_TOKENS) {
    const token = (): string => returned as string;
    const options = { url: URL, token, fetch: never, WebSocket: NoSocket };
    const mistake = { code: "invalid_argument", message: /`token` returned/ };
    await assert.rejects(connect(options), mistake);
    const client = await connect({ ...options, userId: "alice" });
    const status = await until(client, (each) => each.state === "closed");
    assert.equal((status as Status & { error: ChatError }).error.code, "invalid_argument");
  }
});

test("what is no token and no function is refused where it is given", async () => {
  for (const token of NO_TOKENS as string[]) {
    const options = { url: URL, token, userId: "alice", fetch: never, WebSocket: NoSocket };
    await assert.rejects(connect(options), { code: "invalid_argument" });
  }
});

function until(
  client: Awaited<ReturnType<typeof connect>>,
  holds: (status: Status) => boolean,
): Promise<Status> {
  return new Promise((resolve) => client.on("status", (each) => holds(each) && resolve(each)));
}
