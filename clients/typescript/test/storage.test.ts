import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Message } from "../src/events.js";
import { indexedDb } from "../src/indexeddb.js";
import { file } from "../src/node.js";
import type { Snapshot } from "../src/snapshot.js";
import { RECENT_MAX, type Storage, memory } from "../src/storage.js";

const URL = "https://chat.example.com";

function snapshot(partition_count: number): Snapshot {
  return { user_id: "alice", position: null, outbox: [], shown: {}, partition_count };
}

function message(id: bigint, chatId = "d:alice~bob"): Message {
  const [userId, text] = ["bob", `${id}`];
  return { id, chatId, userId, text, clientMessageId: text, sentAt: new Date(0) };
}

const folder = await mkdtemp(join(tmpdir(), "cecochat-"));
const storages: [string, Storage][] = [
  ["memory", memory()],
  ["IndexedDB", indexedDb()],
  ["file", file(join(folder, "alice.json"))],
];

for (const [name, storage] of storages) {
  test(`${name} gives back the device that was saved last`, async () => {
    const kept = await storage.open(URL, "alice");
    assert.equal(kept.device, undefined);
    await kept.save(snapshot(1), []);
    await kept.save(snapshot(2), []);
    await kept.close();
    const again = await storage.open(URL, "alice");
    assert.deepEqual(again.device, snapshot(2));
    await again.close();
  });

  test(`${name} has the newest messages of each chat, each once, in order`, async () => {
    const kept = await storage.open(URL, "alice");
    const ids = Array.from({ length: 3 * RECENT_MAX }, (_, n) => (1n << 40n) * BigInt(n + 1));
    await kept.save(snapshot(3), [message(7n, "d:alice~carol"), message(ids[1]!)]);
    for (const id of [...ids].reverse()) await kept.save(snapshot(3), [message(id)]);
    const recent = await kept.recent("d:alice~bob");
    assert.deepEqual(
      recent,
      ids.slice(-RECENT_MAX).map((id) => message(id)),
    );
    assert.deepEqual(await kept.recent("d:alice~carol"), [message(7n, "d:alice~carol")]);
    assert.deepEqual(await kept.recent("d:alice~dave"), []);
    await kept.close();
    const again = await storage.open(URL, "alice");
    assert.deepEqual(await again.recent("d:alice~bob"), recent);
    assert.deepEqual(await again.recent("d:alice~carol"), [message(7n, "d:alice~carol")]);
    await again.close();
  });
}

test("who has opened IndexedDB before another may not write any more", async () => {
  const first = await indexedDb().open(URL, "dave");
  const second = await indexedDb().open(URL, "dave");
  await second.save(snapshot(1), []);
  await assert.rejects(first.save(snapshot(2), [message(1n)]), { code: "storage_taken" });
  const third = await indexedDb().open(URL, "dave");
  assert.deepEqual(third.device, snapshot(1));
  assert.deepEqual(await third.recent("d:alice~bob"), []);
  for (const each of [first, second, third]) await each.close();
});

test("users do not see each other's devices in IndexedDB", async () => {
  const kept = await indexedDb().open(URL, "carol");
  assert.equal(kept.device, undefined);
  await kept.close();
});
