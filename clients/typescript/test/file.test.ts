import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import {
  copyFile,
  mkdtemp,
  readFile,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { savedIn } from "../src/lines.js";
import { file } from "../src/node.js";
import { CHAT, bot, large, message, opened } from "./bots.js";

async function newPath(): Promise<string> {
  return join(await mkdtemp(join(tmpdir(), "cecochat-")), "bot.json");
}

/** Return what a client finds that opens the file now. */
async function found(path: string): Promise<{ n: number | undefined; ids: bigint[] }> {
  const kept = await opened(path);
  const ids = (await kept.recent(CHAT)).map(({ id }) => id);
  await kept.close();
  return { n: kept.device?.partition_count, ids };
}

/** Write a file of three lines, each with a device and a message of the same number. */
async function threeLines(path: string): Promise<string> {
  const kept = await opened(path);
  for (const n of [1, 2, 3]) await kept.save(bot(n), [message(BigInt(n))]);
  await kept.close();
  const text = await readFile(path, "utf8");
  assert.equal(text.split("\n").length, 4);
  return text;
}

test("a last line that a crash has torn does not count", async () => {
  const path = await newPath();
  const text = await threeLines(path);
  const last = text.lastIndexOf("\n", text.length - 2) + 1; // where the last line begins
  const cuts = Array.from({ length: text.length - 1 - last }, (_, n) => n).filter(
    (n) => n % 9 === 0,
  );
  const torn = cuts.map((n) => text.slice(0, last + n));
  torn.push(`${text.slice(0, -3)}\0\0\n`); // its end has come, and not all before it
  for (const each of torn) {
    await writeFile(path, each);
    assert.deepEqual(await found(path), { n: 2, ids: [1n, 2n] });
  }
  await writeFile(path, text.slice(0, -1)); // whole, but for the end of the line
  assert.deepEqual(await found(path), { n: 3, ids: [1n, 2n, 3n] });
});

test("after a torn line, saves go on", async () => {
  const path = await newPath();
  await writeFile(path, (await threeLines(path)).slice(0, -9));
  const kept = await opened(path);
  for (const n of [4, 5]) await kept.save(bot(n), [message(BigInt(n))]);
  await kept.close();
  assert.deepEqual(await found(path), { n: 5, ids: [1n, 2n, 4n, 5n] });
});

test("damage before the last line is said, and nothing is written", async () => {
  const path = await newPath();
  const text = await threeLines(path);
  const owner = await readFile(`${path}.owner`, "utf8");
  const last = text.lastIndexOf("\n", text.length - 2);
  for (let at = 0; at <= last; at += 5) {
    const line = text.slice(0, at).split("\n").length;
    const damaged = `${text.slice(0, at)}${text[at] === "#" ? "?" : "#"}${text.slice(at + 1)}`;
    await writeFile(path, damaged);
    const said = { code: "storage_damaged", message: new RegExp(`^line ${line} of ${path} `) };
    await assert.rejects(opened(path), said);
    assert.equal(await readFile(path, "utf8"), damaged);
  }
  for (const each of ["", "\n", "{", text.slice(0, 20)]) {
    await writeFile(path, each);
    await assert.rejects(opened(path), { code: "storage_damaged" });
  }
  assert.equal(await readFile(`${path}.owner`, "utf8"), owner);
});

test("a file in the format before lines is read, and goes on in lines", async () => {
  const path = await newPath();
  const messages = [{ ...message(7n), id: "7", sentAt: new Date(0).toISOString() }];
  await writeFile(path, JSON.stringify({ ...bot(1), messages }));
  const kept = await opened(path);
  assert.deepEqual(kept.device, bot(1));
  assert.deepEqual(await kept.recent(CHAT), [message(7n)]);
  await kept.save(bot(2), []);
  await kept.save(bot(3), [message(8n)]);
  await kept.close();
  assert.deepEqual(await found(path), { n: 3, ids: [7n, 8n] });
});

test("a file keeps at most 1,000 messages, and reads one that has none", async () => {
  const path = await newPath();
  await writeFile(path, JSON.stringify(bot(1)));
  const kept = await opened(path);
  const ids = Array.from({ length: 1_100 }, (_, n) => BigInt(n));
  const messages = ids.map((id) => message(id, `d:alice~${id % 10n}`));
  await kept.save(bot(1), messages);
  await kept.close();
  await (await opened(path)).close(); // writes it anew
  const stored = savedIn(await readFile(path, "utf8"), path).messages;
  assert.deepEqual(
    stored.map(({ id }) => id),
    ids.slice(100),
  );
});

test("a file is written anew before it is five times as long as what it holds", async () => {
  const path = await newPath();
  const kept = await opened(path);
  const inodes = new Set<number>();
  let longest = 0;
  for (let n = 1; n <= 300; n++) {
    await kept.save(large(n), [message(BigInt(n))]);
    const { ino, size } = await stat(path);
    inodes.add(ino);
    longest = Math.max(longest, size);
  }
  await kept.close();
  const held = (await readFile(path, "utf8")).indexOf("\n");
  assert.ok(longest < 5 * held + (100 << 10), `${longest} characters for ${held}`);
  assert.ok(inodes.size > 1 && inodes.size < 60, `written anew ${inodes.size} times`);
  const ids = Array.from({ length: 200 }, (_, n) => BigInt(n + 101));
  assert.deepEqual(await found(path), { n: 300, ids });
});

test("what a save has resolved for is there after a kill at any moment", async () => {
  const path = await newPath();
  let n = 0;
  for (const saves of [1, 2, 5, 9, 10, 11, 30]) {
    const told = await savedUntilKilled(path, n, saves);
    const after = await found(path);
    assert.ok(after.n! >= told, `${after.n} is there, and ${told} was told`);
    n = after.n!;
    const ids = Array.from({ length: n }, (_, each) => BigInt(each + 1));
    assert.deepEqual(after.ids, ids.slice(-200));
  }
});

/** Save in another process, and kill it after so many saves. Return the number of the last. */
async function savedUntilKilled(path: string, after: number, saves: number): Promise<number> {
  const script = new URL("saver.js", import.meta.url).pathname;
  const child = spawn(process.execPath, [script, path, `${after}`]);
  let told = after;
  for await (const line of createInterface({ input: child.stdout })) {
    told = Number(line);
    if (told === after + saves) child.kill("SIGKILL"); // what it tells until then counts as well
  }
  return told;
}

test("a save that fails counts as failed, and the next one brings all", async () => {
  const path = await newPath();
  const folder = join(path, "..");
  const kept = await opened(path);
  await kept.save(bot(1), [message(1n)]);
  await kept.save(bot(2), [message(2n)]);
  await rename(folder, `${folder}-away`);
  await assert.rejects(kept.save(bot(3), [message(3n)]), { code: "ENOENT" });
  await assert.rejects(kept.save(bot(4), [message(3n)]), { code: "ENOENT" });
  await rename(`${folder}-away`, folder);
  await kept.save(bot(5), [message(3n), message(4n)]);
  await kept.close();
  assert.deepEqual(await found(path), { n: 5, ids: [1n, 2n, 3n, 4n] });
});

test("a file that was deleted or replaced is there again after a save", async () => {
  const path = await newPath();
  const kept = await opened(path);
  await kept.save(bot(1), [message(1n)]);
  await copyFile(path, `${path}.copy`);
  await rm(path);
  await kept.save(bot(2), [message(2n)]);
  assert.equal(savedIn(await readFile(path, "utf8"), path).device.partition_count, 2);
  await rename(`${path}.copy`, path);
  await kept.save(bot(3), []);
  await kept.close();
  assert.deepEqual(await found(path), { n: 3, ids: [1n, 2n] });
});

test("only the owner may read a file, and it belongs to one user", async () => {
  const path = await newPath();
  await threeLines(path);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await assert.rejects(file(path).open("", "bob"), { code: "storage_failed" });
});

test("who has opened a file before another may not write any more, and says so", async () => {
  const path = await newPath();
  const first = await opened(path);
  await first.save(bot(1), []);
  await first.save(bot(1), []);
  const second = await opened(path);
  for (let n = 0; n < 20; n++) {
    const taken = assert.rejects(first.save(bot(1), []), { code: "storage_taken" });
    await Promise.all([taken, second.save(bot(2), [])]);
  }
  assert.equal((await found(path)).n, 2);
  await assert.rejects(second.save(bot(3), []), { code: "storage_taken" });
  assert.equal((await found(path)).n, 2);
});

test("a client may not write any more while the next one is about to read", async () => {
  const path = await newPath();
  const kept = await opened(path);
  await kept.save(bot(1), []);
  await writeFile(`${path}.owner`, "the next one");
  await assert.rejects(kept.save(bot(2), []), { code: "storage_taken" });
  await kept.close();
});

/** Return how many descriptors of this process are of a file. */
async function openOnes(path: string): Promise<number> {
  const found = await Promise.allSettled(
    (await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`)),
  );
  return found.filter((each) => each.status === "fulfilled" && each.value === path).length;
}

test("what is saved after a close is there, and the file stays closed", async (t) => {
  if (!existsSync("/proc/self/fd")) return t.skip("needs the files of Linux");
  const path = await newPath();
  const kept = await opened(path);
  await kept.save(bot(1), [message(1n)]);
  assert.equal(await openOnes(path), 1);
  await Promise.all([kept.save(bot(2), [message(2n)]), kept.close()]);
  assert.equal(await openOnes(path), 0);
  await kept.save(bot(3), [message(3n)]);
  assert.equal(await openOnes(path), 0);
  assert.deepEqual(await found(path), { n: 3, ids: [1n, 2n, 3n] });
});

test("what a killed client left beside its file is removed", async () => {
  const path = await newPath();
  await writeFile(`${path}.killed.new`, "{");
  const kept = await opened(path);
  await kept.save(bot(1), []);
  await kept.close();
  assert.deepEqual((await readdir(join(path, ".."))).sort(), ["bot.json", "bot.json.owner"]);
});
