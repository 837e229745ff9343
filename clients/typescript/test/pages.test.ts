/** A history that says that there is more, and brings nothing new. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Init, create, fromBinary, toBinary } from "../src/codec.js";
import type { Client } from "../src/client.js";
import type { Event } from "../src/gen/cecochat/v1/events_pb.js";
import type { GetMessagesResponse } from "../src/gen/cecochat/v1/history_pb.js";
import {
  GetChatsResponseSchema,
  GetMessagesResponseSchema,
  SearchMessagesRequestSchema,
  SearchMessagesResponseSchema,
} from "../src/gen/schemas.js";
import { Faker } from "./faker.js";
import { CHAT, event } from "./items.js";

const AT_FAULT = { code: "not_reachable", retriable: true, message: /brings nothing new/ };

/** A client of a history whose every page has these events, and more. */
async function reading(...messages: Event[]): Promise<Client> {
  const faker = new Faker();
  const page = create(GetMessagesResponseSchema, { messages, hasMore: true });
  faker.query = () => protobuf(toBinary(GetMessagesResponseSchema, page));
  return faker.connect();
}

function protobuf(body: Uint8Array<ArrayBuffer>): Response {
  return new Response(body, { headers: { "content-type": "application/proto" } });
}

async function ids(client: Client, request: object): Promise<bigint[]> {
  const found: bigint[] = [];
  const reading = (async () => {
    for await (const { id } of client.history("bob", request)) found.push(id);
  })();
  await assert.rejects(reading, AT_FAULT);
  await client.close();
  return found;
}

test("an empty page that is not the last is an error, and no end", async () => {
  for (const request of [{}, { before: 9n }, { after: 9n }]) {
    assert.deepEqual(await ids(await reading(), request), []);
  }
});

test("a page that comes again is an error", async () => {
  const page = [event(5n, "bob"), event(6n, "bob")];
  assert.deepEqual(await ids(await reading(...page), {}), [6n, 5n]);
  assert.deepEqual(await ids(await reading(...page), { before: 9n }), [6n, 5n]);
  assert.deepEqual(await ids(await reading(...page), { after: 1n }), [5n, 6n]);
});

test("a list of chats that does not go on is an error", async () => {
  const chat = { chatId: CHAT, lastMessage: event(5n, "bob") };
  for (const [chats, before] of [
    [[], 0n],
    [[chat], 5n],
    [[{ chatId: CHAT }], 0n],
  ] as const) {
    const faker = new Faker();
    const list = create(GetChatsResponseSchema, { chats: [...chats], hasMore: true });
    faker.query = () => protobuf(toBinary(GetChatsResponseSchema, list));
    const client = await faker.connect();
    await assert.rejects(client.chats({ before }), AT_FAULT);
    await client.close();
  }
});

test("a page that leads on is none", async () => {
  const faker = new Faker();
  const pages: Init<GetMessagesResponse>[] = [
    { messages: [event(5n, "bob")], hasMore: true },
    { messages: [event(4n, "bob")], hasMore: false },
  ];
  faker.query = () => {
    const page = create(GetMessagesResponseSchema, pages.shift());
    return protobuf(toBinary(GetMessagesResponseSchema, page));
  };
  const client = await faker.connect();
  const found: bigint[] = [];
  for await (const { id } of client.history("bob")) found.push(id);
  assert.deepEqual(found, [5n, 4n]);
  await client.close();
});

test("what is found is found page by page, and a page that comes again is an error", async () => {
  const pages = [[event(9n, "bob"), event(7n, "bob")], [event(5n, "bob")], [event(5n, "bob")]];
  const asked: unknown[] = [];
  const faker = new Faker();
  faker.query = () => {
    const request = fromBinary(SearchMessagesRequestSchema, faker.queried.at(-1)!);
    const { text, chatId, before } = request;
    const messages = pages[asked.push([text, chatId, before]) - 1]!;
    const page = create(SearchMessagesResponseSchema, { messages, hasMore: true });
    return protobuf(toBinary(SearchMessagesResponseSchema, page));
  };
  const client = await faker.connect();
  const found: bigint[] = [];
  const searching = (async () => {
    for await (const { id } of client.search("hello", { chat: "bob" })) found.push(id);
  })();
  await assert.rejects(searching, AT_FAULT);
  assert.deepEqual(found, [9n, 7n, 5n]);
  const befores = [0n, 7n, 5n];
  assert.deepEqual(
    asked,
    befores.map((before) => ["hello", CHAT, before]),
  );
  await client.close();
});
