import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, stat, writeFile } from "node:fs/promises";
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

test("a file keeps at most 1,000 messages, and reads one that has none", async () => {
  const path = join(folder, "erin.json");
  await writeFile(path, JSON.stringify({ ...snapshot(1), user_id: "erin" }));
  const kept = await file(path).open(URL, "erin");
  assert.deepEqual(kept.device, { ...snapshot(1), user_id: "erin" });
  const ids = Array.from({ length: 1_100 }, (_, n) => BigInt(n));
  const messages = ids.map((id) => message(id, `d:alice~${id % 10n}`));
  await kept.save(kept.device!, messages);
  const stored = JSON.parse(await readFile(path, "utf8")).messages;
  assert.deepEqual(
    stored.map(({ id }: { id: string }) => BigInt(id)),
    ids.slice(100),
  );
});

test("only the owner may read a file, and it belongs to one user", async () => {
  const path = join(folder, "alice.json");
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal(JSON.parse(await readFile(path, "utf8")).user_id, "alice");
  await assert.rejects(file(path).open(URL, "bob"), { code: "storage_failed" });
});

test("who has opened a file before another may not write any more, and says so", async () => {
  const path = join(folder, "bot.json");
  const first = await file(path).open(URL, "bot");
  const second = await file(path).open(URL, "bot");
  for (let n = 0; n < 20; n++) {
    const taken = assert.rejects(first.save(bot(1), []), { code: "storage_taken" });
    await Promise.all([taken, second.save(bot(2), [])]);
  }
  assert.deepEqual((await file(path).open(URL, "bot")).device, bot(2));
});

test("what a killed client left beside its file is removed", async () => {
  const path = join(folder, "killed.json");
  await writeFile(`${path}.killed.new`, "{");
  const kept = await file(path).open(URL, "bot");
  await kept.save(bot(1), []);
  const left = (await readdir(folder)).filter((each) => each.startsWith("killed"));
  assert.deepEqual(left.sort(), ["killed.json", "killed.json.owner"]);
});

function bot(partition_count: number): Snapshot {
  return { ...snapshot(partition_count), user_id: "bot" };
}
