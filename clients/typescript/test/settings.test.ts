import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "../src/codec.js";
import type { ClientFrame, Send } from "../src/gen/cecochat/v1/messaging_pb.js";
import { EventSchema, GetChatsResponseSchema } from "../src/gen/schemas.js";
import { FOR_GOOD, type SettingsChanged } from "../src/index.js";
import { Faker, until } from "./faker.js";
import { ack, caughtUp, delivered, item, welcome } from "./items.js";

const CHAT = "d:alice~bob";
const UNTIL = new Date("2026-11-29T18:00:00Z");
const UNTIL_MS = BigInt(UNTIL.getTime());

function set(id: bigint, value: object): ReturnType<typeof delivered> {
  const body = { case: "settings", value } as const;
  return delivered(
    id,
    create(EventSchema, { id, userId: "alice", chatId: CHAT, clientMessageId: `c${id}`, body }),
  );
}

/** A client that has caught up, what it has sent, and what it was told of settings. */
async function world() {
  const faker = new Faker();
  const sends: Send[] = [];
  faker.says = ({ hello, sends: given }: ClientFrame) => {
    if (hello) return [welcome(5n), caughtUp(5n)];
    sends.push(...given);
    return given.map((send, at) => ack(BigInt(6 + at), send.clientMessageId, 40n));
  };
  const client = await faker.connect();
  const told: SettingsChanged[] = [];
  client.on("settingschanged", (value) => told.push(value));
  await until(() => client.status.state === "connected");
  return { faker, client, sends, told };
}

test("all of the settings of a chat are sent, and told once they are accepted", async () => {
  const { client, sends, told } = await world();
  const id = await client.setChat(
    "bob",
    { mutedUntil: UNTIL, pinned: true },
    { clientMessageId: "c1" },
  );
  assert.equal(id, 40n);
  const [send] = sends;
  const value = { mutedUntilMs: UNTIL_MS, archived: false, pinned: true, accepted: false };
  assert.equal(send?.chatId, CHAT);
  assert.deepEqual(send?.body, {
    case: "settings",
    value: { $typeName: "cecochat.v1.ChatSettings", ...value },
  });
  const settings = { mutedUntil: UNTIL, archived: false, pinned: true, accepted: false };
  assert.deepEqual(told, [{ id: 40n, chatId: CHAT, settings, clientMessageId: "c1" }]);
  await client.close();
});

test("what another device has set is told, also a time that never comes", async () => {
  const { faker, client, told } = await world();
  faker.sockets[0]!.say([set(50n, { mutedUntilMs: 2n ** 63n - 1n, archived: true }), set(51n, {})]);
  await until(() => told.length === 2);
  assert.deepEqual(told, [
    {
      id: 50n,
      chatId: CHAT,
      settings: { mutedUntil: FOR_GOOD, archived: true, pinned: false, accepted: false },
    },
    { id: 51n, chatId: CHAT, settings: { archived: false, pinned: false, accepted: false } },
  ]);
  await client.close();
});

test("the list of chats has what is set", async () => {
  const { faker, client } = await world();
  const chats = [{ chatId: CHAT, settings: { mutedUntilMs: UNTIL_MS } }, { chatId: "d:alice~eve" }];
  const answer = toBinary(GetChatsResponseSchema, create(GetChatsResponseSchema, { chats }));
  faker.query = () => new Response(answer, { headers: { "content-type": "application/proto" } });
  assert.deepEqual(
    (await client.chats()).map(({ settings }) => settings),
    [
      { mutedUntil: UNTIL, archived: false, pinned: false, accepted: false },
      { archived: false, pinned: false, accepted: false },
    ],
  );
  await client.close();
});

test("a setting that is refused is told", async () => {
  const { faker, client } = await world();
  const refused = { code: 2, message: "no", retriable: false };
  faker.says = ({ hello, sends }: ClientFrame) =>
    hello
      ? [welcome(5n), caughtUp(5n)]
      : sends.map(({ clientMessageId }) =>
          item({ case: "refused", value: { clientMessageId, error: refused } } as never),
        );
  await assert.rejects(() => client.setChat("bob", { archived: true }), { name: "SendRejected" });
  await client.close();
});

test("wrong settings are refused at once", async () => {
  const { client, sends } = await world();
  for (const wrong of [
    { mutedUntil: new Date(NaN) },
    { mutedUntil: "tomorrow" as never },
    { pinned: 1 as never },
    { archived: "no" as never },
  ]) {
    await assert.rejects(() => client.setChat("bob", wrong), { code: "invalid_argument" });
  }
  await assert.rejects(() => client.setChat("no name", {}), { code: "invalid_argument" });
  assert.deepEqual(sends, []);
  await client.close();
});
