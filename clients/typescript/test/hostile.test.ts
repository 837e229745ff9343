import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { waitMs } from "../src/backoff.js";
import type { ServerItem, Welcome } from "../src/gen/cecochat/v1/messaging_pb.js";
import type { ClientFrame } from "../src/gen/cecochat/v1/messaging_pb.js";
import { ErrorSchema, LimitsSchema, ReadTokenSchema } from "../src/gen/schemas.js";
import { create, toBinary } from "../src/codec.js";
import { Faker, until } from "./faker.js";
import { ack, caughtUp, item, welcome } from "./items.js";

const hello: ServerItem[] = [
  welcome(5n),
  item({ case: "caughtUp", value: { offset: 5n, clockMs: 5n } }),
];

test("an id that is queued is refused for another text or chat, and repeats are not", async () => {
  const client = await new Faker().connect();
  const first = client.send("bob", "one", { clientMessageId: "x" });
  const again = client.send("bob", "one", { clientMessageId: "x" });
  const code = { code: "reused_id", clientMessageId: "x" };
  await assert.rejects(client.send("bob", "two", { clientMessageId: "x" }), code);
  await assert.rejects(client.send("carol", "one", { clientMessageId: "x" }), code);
  assert.equal((await client.queued("bob")).length, 1);
  await client.close();
  await assert.rejects(first, { code: "closed" });
  await assert.rejects(again, { code: "closed" });
});

test("no wait overflows a timer, and what is no number is not given", () => {
  const most = 15 * 60_000; // ten minutes, and half as much again
  for (const junk of [2 ** 53, 1e300, 1e9, Infinity]) {
    for (const each of [{ atLeastMs: junk }, { asked: { base_s: junk, max_s: junk } }]) {
      const wait = waitMs(3, 0.99, each);
      assert.ok(wait <= most && wait > 10_000, `${wait}`);
    }
  }
  for (const junk of [NaN, -1, "abc", null, undefined, -Infinity] as never[]) {
    assert.equal(waitMs(0, 0.5, { atLeastMs: junk }), 250);
    assert.equal(waitMs(0, 0.5, { asked: { base_s: junk, max_s: junk } }), 250);
    assert.equal(waitMs(0, 0.5, { asked: junk }), 250);
  }
});

test("a send that is refused without a reason is rejected, and the next one is sent", async () => {
  const faker = new Faker();
  const client = await faker.connect();
  const codes: string[] = [];
  client.on("rejected", ({ error }) => codes.push(error.code));
  faker.says = (frame) => {
    if (frame.hello) return hello;
    const { clientMessageId } = frame.sends[0]!;
    return [item({ case: "refused", value: { clientMessageId } })];
  };
  const sends = ["a", "b"].map((id) => client.send("bob", id, { clientMessageId: id }));
  for (const each of sends) await assert.rejects(each, { code: "unspecified" });
  assert.deepEqual(codes, ["unspecified", "unspecified"]);
  assert.deepEqual(await client.queued("bob"), []);
  await client.close();
});

test("a limit that leaves no room is not one", async () => {
  for (const limit of [-1, 0, -(2 ** 31), 1, 1_024]) {
    const faker = new Faker();
    const client = await faker.connect();
    faker.says = (frame) => {
      if (!frame.hello) {
        return frame.sends.map((send, n) => ack(6n + BigInt(n), send.clientMessageId, 9n));
      }
      const greeting = welcome(5n);
      (greeting.item.value as Welcome).limits = create(LimitsSchema, {
        sendsPerFrameMax: Math.min(limit, 1),
        frameMaxBytes: limit,
      });
      return [greeting, caughtUp(5n)];
    };
    await until(() => client.status.state === "connected");
    assert.equal(await client.send("bob", "hello"), 9n);
    await client.close();
  }
});

const JUNK: [string, () => Response][] = [
  ["HTML", () => new Response("<html>", { headers: { "content-type": "text/html" } })],
  ["junk", () => new Response("\xff\xff", { headers: { "content-type": "application/proto" } })],
  [
    "an error with junk",
    () => Response.json({ details: [{ type: "cecochat.v1.Error", value: "%" }] }, { status: 500 }),
  ],
];

for (const [name, response] of JUNK) {
  test(`an answer of the history that is ${name} does not end the client`, async () => {
    mock.method(Math, "random", () => 0); // waits are short
    const faker = new Faker();
    let queries = 0;
    faker.query = () => (++queries < 3 ? response() : empty());
    const token = create(ReadTokenSchema, { logId: "log" });
    faker.says = ({ hello }) =>
      hello ? [welcome(9n), item({ case: "gap", value: { token } }), caughtUp(9n)] : [];
    const client = await faker.connect();
    const states: string[] = [];
    client.on("status", ({ state }) => states.push(state));
    await until(() => states.some((each) => each === "connected" || each === "closed"));
    assert.equal(states.at(-1), "connected");
    await client.close();
    mock.restoreAll();
  });
}

function empty(): Response {
  return new Response(new Uint8Array(), { headers: { "content-type": "application/proto" } });
}

test("the wait grows while sessions are short, and is short again after a long one", async () => {
  mock.method(Math, "random", () => 0.999);
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  const faker = new Faker();
  const waits: number[] = [];
  try {
    faker.says = ({ hello: first }: ClientFrame, session) =>
      first ? [...hello, ...(session === 6 ? [] : [bye()])] : [];
    const connecting = faker.connect();
    const client = await connecting;
    client.on("status", (status) => {
      if (status.state === "waiting") waits.push(status.until.getTime() - Date.now());
    });
    for (let second = 0; waits.length < 7 && second < 300; second++) {
      mock.timers.tick(500);
      for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve));
      if (faker.sockets.length === 6 && second > 200) faker.sockets[5]!.say([bye()]);
    }
    assert.deepEqual(
      waits.map((wait) => Math.round(wait / 500)),
      [1, 2, 4, 8, 16, 1, 2],
    );
  } finally {
    mock.timers.reset();
    mock.restoreAll();
  }
});

function bye(): ServerItem {
  const error = { code: 9, message: "bye", retriable: true };
  return item({ case: "disconnect", value: { error } });
}

const never = (): Promise<never> => new Promise(() => {});
const WAITS: [string, (faker: Faker, asked: () => void) => void][] = [
  ["the application's token", (faker, asked) => (faker.token = () => (asked(), never()))],
  [
    "an answer",
    (faker, asked) => (faker.query = () => (asked(), new Response(new ReadableStream()))),
  ],
  ["its next attempt to ask", (faker, asked) => (faker.query = () => (asked(), unavailable()))],
];

for (const [what, hang] of WAITS) {
  test(`a client that waits for ${what} closes at once`, async () => {
    const faker = new Faker();
    const token = create(ReadTokenSchema, { logId: "log" });
    faker.says = ({ hello }) =>
      hello ? [welcome(9n), item({ case: "gap", value: { token } }), caughtUp(9n)] : [];
    const asked = new Promise<void>((resolve) => hang(faker, resolve));
    const client = await faker.connect();
    await asked;
    await sleep(20);
    const closing = client.close().then(() => client.status.state);
    assert.equal(await Promise.race([closing, sleep(2_000, "waits")]), "closed");
  });
}

function unavailable(): Response {
  const error = create(ErrorSchema, { code: 9, retriable: true, retryAfterMs: 12_000n });
  const value = Buffer.from(toBinary(ErrorSchema, error)).toString("base64");
  return Response.json({ details: [{ type: ErrorSchema[0], value }] }, { status: 503 });
}
