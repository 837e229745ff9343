/**
 * Measures what a save in a file costs, beside a mere append that is synced:
 *
 *     node dist/test/saves.js [FOLDER]
 *
 * The file holds 1,000 messages of 10 chats, and each save brings one more.
 */

import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Message } from "../src/events.js";
import { file } from "../src/node.js";
import type { Snapshot } from "../src/snapshot.js";

const [HELD, SAVES] = [1_000, 2_000];
const folder = await mkdtemp(join(process.argv[2] ?? tmpdir(), "cecochat-"));

function message(n: number): Message {
  const userId = `user-${n % 10}`;
  const [id, text] = [BigInt(n + 1) << 40n, "x".repeat(100)];
  return {
    id,
    chatId: `d:bot~${userId}`,
    userId,
    text,
    clientMessageId: `${n}`,
    sentAt: new Date(),
  };
}

function device(n: number): Snapshot {
  const chats = Array.from({ length: 10 }, (_, chat) => `user-${chat}`);
  const shown = Object.fromEntries(chats.map((user) => [`d:bot~${user}`, { [user]: `${n}` }]));
  const position = { logId: "log", partition: 1, offset: `${n}`, clockMs: `${Date.now()}` };
  return { user_id: "bot", device_id: "device", position, outbox: [], shown, partition_count: 12 };
}

/** Print how long each of many calls took, in microseconds. */
async function measured(what: string, call: (n: number) => Promise<unknown>): Promise<void> {
  const tookUs: number[] = [];
  const usage = process.cpuUsage();
  for (let n = 0; n < SAVES; n++) {
    const began = process.hrtime.bigint();
    await call(n);
    tookUs.push(Number((process.hrtime.bigint() - began) / 1_000n));
  }
  const { user, system } = process.cpuUsage(usage);
  const at = (part: number): number => tookUs.sort((a, b) => a - b)[Math.floor(part * SAVES)]!;
  const mean = tookUs.reduce((sum, each) => sum + each) / SAVES;
  console.log(
    `${what}: median ${at(0.5)} us, mean ${mean.toFixed(0)} us, p99 ${at(0.99)} us,` +
      ` CPU ${((user + system) / SAVES).toFixed(0)} us`,
  );
}

const kept = await file(join(folder, "bot.json")).open("https://chat.example.com", "bot");
await kept.save(
  device(0),
  Array.from({ length: HELD }, (_, n) => message(n)),
);
await measured("a save", (n) => kept.save(device(n), [message(HELD + n)]));
await kept.close();

const bare = await open(join(folder, "bare"), "a");
const line = `${JSON.stringify(device(0))}\n`;
await measured("a synced append", async () => {
  await bare.write(line);
  await bare.datasync();
});
await bare.close();
await rm(folder, { recursive: true });
