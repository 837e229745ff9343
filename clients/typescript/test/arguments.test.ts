import assert from "node:assert/strict";
import { test } from "node:test";
import type { Client } from "../src/index.js";
import { Faker } from "./faker.js";

const BAD_IDS: unknown[] = [5, "5", null, undefined, 1.5, -1n, 2n ** 63n];
const BAD_LIMITS: unknown[] = [0, -1, 1.5, NaN, "5", 5n, null, 2 ** 31];

async function having(run: (client: Client) => Promise<void>): Promise<void> {
  const client = await new Faker().connect();
  await run(client);
  await client.close();
}

function isInvalid(error: { code?: string }): boolean {
  return error.code === "invalid_argument";
}

test("a mark that is no message id is refused where it is given", () =>
  having(async (client) => {
    for (const id of BAD_IDS) assert.throws(() => client.markRead("bob", id as never), isInvalid);
    client.markRead("bob", 2n ** 63n - 1n);
  }));

test("bounds and limits that no server takes are refused", () =>
  having(async (client) => {
    for (const id of BAD_IDS.filter((each) => each !== undefined)) {
      for (const bound of ["before", "after"]) {
        await assert.rejects(client.history("bob", { [bound]: id }).next(), isInvalid, `${id}`);
      }
      await assert.rejects(client.chats({ before: id as never }), isInvalid, `${id}`);
    }
    for (const limit of BAD_LIMITS as never[]) {
      await assert.rejects(client.history("bob", { limit }).next(), isInvalid, `${limit}`);
      await assert.rejects(client.chats({ limit }), isInvalid, `${limit}`);
    }
  }));

test("a chat, a text or an id that is no string is refused", () =>
  having(async (client) => {
    for (const each of [null, 5, {}, undefined] as never[]) {
      await assert.rejects(client.send(each, "hi"), isInvalid);
      await assert.rejects(client.send("bob", each), isInvalid);
      await assert.rejects(client.recent(each), isInvalid);
    }
    await assert.rejects(client.send("bob", "hi", { clientMessageId: 5 as never }), isInvalid);
  }));
