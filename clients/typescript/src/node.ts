/** Storage for programs on Node, Deno and Bun: `import { file } from "@cecochat/client/node"`. */

import { open, readFile, rename } from "node:fs/promises";
import { ChatError } from "./errors.js";
import type { Message } from "./events.js";
import type { Snapshot } from "./snapshot.js";
import { type Kept, MemoryKept, type Storage } from "./storage.js";

/**
 * Keep the device of one user in a JSON file, which only its owner may read. It is durable: each
 * save is synced to disk. `recent` only has the messages of this run. Give each client its own file.
 */
export function file(path: string): Storage {
  return { open: async (_url, userId) => new FileKept(path, await load(path, userId)) };
}

async function load(path: string, userId: string): Promise<Snapshot | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const snapshot = JSON.parse(text) as Snapshot;
  if (snapshot.user_id === userId) return snapshot;
  const message = `${path} belongs to ${snapshot.user_id}: use a file of its own for ${userId}`;
  throw new ChatError("storage_failed", message);
}

class FileKept extends MemoryKept implements Kept {
  constructor(
    private readonly path: string,
    device: Snapshot | undefined,
  ) {
    super();
    this.device = device;
  }

  override async save(device: Snapshot, messages: Message[]): Promise<void> {
    await super.save(device, messages);
    const beside = `${this.path}.new`;
    const written = await open(beside, "w", 0o600); // it holds messages that have not been sent
    try {
      await written.writeFile(JSON.stringify(device));
      await written.sync();
    } finally {
      await written.close();
    }
    await rename(beside, this.path);
  }
}
