import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { mkdtemp, readFile, rename } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Core, type CoreOptions } from "../src/core.js";
import type { Message } from "../src/events.js";
import { indexedDb } from "../src/indexeddb.js";
import { Keeper } from "../src/keeper.js";
import { savedIn } from "../src/lines.js";
import { file } from "../src/node.js";
import type { Snapshot } from "../src/snapshot.js";
import type { Kept } from "../src/storage.js";
import type { Surroundings, Watcher } from "../src/surroundings.js";

const URL = "https://chat.example.com";
const CHAT = "d:alice~bob";

function snapshot(): Snapshot {
  return { user_id: "alice", position: null, outbox: [], shown: {} };
}

function message(id: bigint): Message {
  return { id, chatId: CHAT, userId: "bob", text: "hi", clientMessageId: "", sentAt: new Date(0) };
}

/** A file in a folder that has been moved away, so saves fail until it is back. */
async function unwritable(): Promise<{ kept: Kept; mend: () => Promise<unknown>; path: string }> {
  const folder = await mkdtemp(join(tmpdir(), "cecochat-"));
  const path = join(folder, "alice.json");
  const kept = await file(path).open(URL, "alice");
  await rename(folder, `${folder}-away`);
  return { kept, mend: () => rename(`${folder}-away`, folder), path };
}

test("what could not be saved is saved by the next call, with its messages", async () => {
  const { kept, mend, path } = await unwritable();
  const saved: Message[][] = [];
  const noted: Kept = {
    device: kept.device,
    save: (device, messages) => {
      saved.push(messages);
      return kept.save(device, messages);
    },
    recent: (chatId) => kept.recent(chatId),
    close: () => kept.close(),
  };
  const keeper = new Keeper(noted, snapshot);
  keeper.message(message(1n));
  await assert.rejects(keeper.keep(), { code: "ENOENT" });
  await assert.rejects(keeper.keep(), { code: "ENOENT" });
  keeper.message(message(2n));
  await mend();
  await keeper.keep();
  assert.deepEqual(saved.at(-1), [message(1n), message(2n)]);
  assert.deepEqual((await file(path).open(URL, "alice")).device, snapshot());
  await keeper.keep();
  assert.equal(saved.length, 3);
});

test("a storage that throws at once is asked again too", async () => {
  const kept = await indexedDb().open(URL, "alice");
  const keeper = new Keeper(kept, snapshot);
  keeper.failed = () => {};
  keeper.changed();
  await kept.close();
  await assert.rejects(keeper.keep(), { name: "InvalidStateError" });
  await assert.rejects(keeper.keep(), { name: "InvalidStateError" });
});

test("a save that fails while the page is left is tried again, and nothing is unhandled", async () => {
  const { kept, mend, path } = await unwritable();
  let watcher!: Watcher;
  const surroundings = {
    hidden: false,
    offline: false,
    watch: (given: Watcher) => (watcher = given),
    unwatch: () => {},
  } as unknown as Surroundings;
  const never = (): Promise<never> => new Promise(() => {});
  const options = { url: URL, token: never, device: "", receipts: true, fetch: never };
  const core = new Core("alice", options as unknown as CoreOptions, kept, surroundings, never);
  core.start();
  (core as unknown as { keeper: Keeper }).keeper.changed();
  watcher.leaving();
  await assert.rejects(core.recent(CHAT), { code: "ENOENT" });
  await mend();
  let device: Snapshot | undefined;
  while (!device) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    // Not by opening it: that would take the file away from `core`.
    const text = await readFile(path, "utf8").catch(() => undefined);
    device = text === undefined ? undefined : savedIn(text, path).device;
  }
  assert.equal(device.user_id, "alice");
});
