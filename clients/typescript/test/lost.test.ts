/** A storage that cannot be used, and one that is taken away. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mock, test } from "node:test";
import type { Client } from "../src/client.js";
import { databaseName, indexedDb } from "../src/indexeddb.js";
import { file } from "../src/node.js";
import type { Snapshot } from "../src/snapshot.js";
import { Faker, until } from "./faker.js";
import { caughtUp, delivered, event, welcome } from "./items.js";

const NAME = databaseName("http://fake", "alice");

/** A client with a queued send, to whom a message has just come, which is not saved yet. */
async function busy(): Promise<{ client: Client; sending: Promise<bigint> }> {
  const faker = new Faker();
  faker.says = ({ hello }) => (hello ? [welcome(5n), caughtUp(5n)] : []);
  const client = await faker.connect(indexedDb());
  await until(() => client.status.state === "connected");
  const sending = client.send("bob", "queued", { clientMessageId: "queued" });
  sending.catch(() => {});
  await until(async () => (await client.queued("bob")).length);
  let hasCome = false;
  client.on("message", () => (hasCome = true));
  faker.sockets[0]!.say([delivered(9n, event(7n, "bob"))]);
  await until(() => hasCome);
  return { client, sending };
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function code({ status }: Client): string | undefined {
  return status.state === "closed" ? status.error?.code : undefined;
}

test("a later version takes all over, and the client says to reload", async () => {
  const { client, sending } = await busy();
  const database = await done(indexedDB.open(NAME, 99));
  await until(() => client.status.state === "closed");
  assert.equal(code(client), "storage_upgraded");
  await assert.rejects(sending, { code: "storage_upgraded", message: /reload the page/ });
  const read = database.transaction(["device", "messages"]);
  const device: Snapshot = await done(read.objectStore("device").get("device"));
  assert.equal(device.position?.offset, "9");
  assert.deepEqual(
    device.outbox.map((each) => each.clientMessageId),
    ["queued"],
  );
  assert.equal((await done(read.objectStore("messages").getAll())).length, 1);
  database.close();
  await assert.rejects(new Faker().connect(indexedDb()), { code: "storage_upgraded" });
  await assert.rejects(indexedDb().check!("http://fake", "alice"), { code: "storage_upgraded" });
  await done(indexedDB.deleteDatabase(NAME));
});

test("if its storage is deleted, the client ends, and the next one begins anew", async () => {
  const { client, sending } = await busy();
  await done(indexedDB.deleteDatabase(NAME));
  await until(() => client.status.state === "closed");
  assert.equal(code(client), "storage_deleted");
  await assert.rejects(sending, { code: "storage_deleted" });
  const next = await new Faker().connect(indexedDb());
  assert.deepEqual(await next.queued("bob"), []);
  assert.deepEqual(await next.recent("bob"), []);
  await next.close();
  await done(indexedDB.deleteDatabase(NAME));
});

test("a client that is still opening its storage lets go of it, too", async () => {
  const transaction = IDBDatabase.prototype.transaction;
  mock.method(IDBDatabase.prototype, "transaction", function (this: IDBDatabase, ...args: never) {
    const begun = transaction.apply(this, args);
    this.dispatchEvent(new IDBVersionChangeEvent("versionchange", { newVersion: null }));
    return begun;
  });
  const kept = await indexedDb().open("http://fake", "alice");
  mock.restoreAll();
  await assert.rejects(async () => kept.recent("d:alice~bob"), { name: "InvalidStateError" });
  await done(indexedDB.deleteDatabase(NAME));
});

test("a client that waits for a token lets go of its storage as soon as one that does not", async () => {
  const faker = new Faker();
  faker.token = () => new Promise(() => {});
  const client = await faker.connect(indexedDb());
  await until(() => client.status.state === "connecting");
  await done(indexedDB.deleteDatabase(NAME));
  await until(() => code(client) === "storage_deleted");
});

test("a browser that stores nothing is told so, with what to do", async () => {
  const denied = { code: "storage_failed", message: /The user denied permission.*memory\(\)/ };
  mock.method(indexedDB, "open", () => {
    throw new DOMException("The user denied permission", "SecurityError");
  });
  await assert.rejects(new Faker().connect(indexedDb()), denied);
  await assert.rejects(indexedDb().check!("http://fake", "alice"), denied);
  mock.restoreAll();
});

test("a storage of one's own that throws at once cannot be used either", async () => {
  const open = (): never => {
    throw new Error("the disk is gone");
  };
  const failed = { code: "storage_failed", message: /the disk is gone/ };
  await assert.rejects(new Faker().connect({ open }), failed);
});

test("a file that cannot be read is named, with what to do", async () => {
  const folder = await mkdtemp(join(tmpdir(), "cecochat-"));
  const damaged = { user_id: "alice", position: null };
  const junk = ["", "{", "null", "7", '{"user_id": "alice", "messages": [{"id": "x"}]}'];
  for (const content of [...junk, JSON.stringify(damaged)]) {
    const path = join(folder, "alice.json");
    await writeFile(path, content);
    const unusable = { code: /^storage_(failed|damaged)$/, message: /to begin (anew|as a new)/ };
    await assert.rejects(new Faker().connect(file(path)), unusable, content);
  }
  for (const path of [folder, join(folder, "none", "alice.json")]) {
    const unusable = { code: "storage_failed", message: /choose another place/ };
    await assert.rejects(new Faker().connect(file(path)), unusable);
  }
});
