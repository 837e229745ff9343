/** Storage for programs on Node, Deno and Bun: `import { file } from "@cecochat/client/node"`. */

import { type FileHandle, open, readFile, rm, stat } from "node:fs/promises";
import { Claim } from "./claim.js";
import { ChatError, unusable } from "./errors.js";
import type { Message } from "./events.js";
import { type Saved, lineOf, savedIn } from "./lines.js";
import type { Snapshot } from "./snapshot.js";
import { type Kept, MemoryKept, type Storage, newest } from "./storage.js";

/**
 * Keep the device of one user in a file, which only its owner may read. It is durable: each save
 * adds a line, which is synced to disk. Now and then the file is written anew, with the newest
 * messages: up to 200 of a chat, and 1,000 of all chats. The file belongs to the client that opened
 * it last: one that had it before ends with `storage_taken`. If the file was damaged, other than by
 * a crash in the middle of a save, opening it throws `storage_damaged`.
 */
export function file(path: string): Storage {
  return {
    async open(_url, userId) {
      try {
        return await openKept(path, userId);
      } catch (error) {
        throw unusable(path, error, "choose another place, or move it away to begin anew");
      }
    },
  };
}

async function openKept(path: string, userId: string): Promise<Kept> {
  await load(path, userId); // a file of another user is not taken over
  const claim = await Claim.of(path);
  const saved = await load(path, userId);
  const kept = new FileKept(claim, saved);
  if (saved) await kept.save(saved.device, []); // what the client before adds now goes nowhere
  return kept;
}

const MESSAGES_MAX = 1_000; // in the file, each time that it is written anew
const GROWTH_MAX = 4; // how many times longer than that the lines after it may get
const SPARE = 64 << 10; // and this many characters more

async function load(path: string, userId: string): Promise<Saved | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const saved = savedIn(text, path);
  const owner = saved.device.user_id;
  if (owner === userId) return saved;
  const message = `${path} belongs to ${owner}: use a file of its own for ${userId}`;
  throw new ChatError("storage_failed", message);
}

class FileKept extends MemoryKept implements Kept {
  private log: Log | undefined; // what this client has written, once it has
  private isClosed = false;

  constructor(
    private readonly claim: Claim,
    saved: Saved | undefined,
  ) {
    super();
    this.device = saved?.device;
    this.add(saved?.messages ?? []);
  }

  override async save(device: Snapshot, messages: Message[]): Promise<void> {
    await super.save(device, messages);
    if (await this.log?.add(lineOf({ device, messages }))) return;
    await this.closeLog();
    const all = newest([...this.chats.values()].flat(), MESSAGES_MAX);
    this.log = await Log.begun(this.claim, lineOf({ device, messages: all }));
    if (this.isClosed) await this.closeLog(); // this was of an event that a listener took late
  }

  override async close(): Promise<void> {
    this.isClosed = true;
    await this.closeLog();
  }

  private async closeLog(): Promise<void> {
    const { log } = this;
    this.log = undefined;
    await log?.close();
  }
}

/** A file that this client has written as a whole, and adds lines to. */
class Log {
  private added = 0;

  private constructor(
    private readonly claim: Claim,
    private readonly handle: FileHandle,
    private readonly inode: number,
    private readonly begun: number,
  ) {}

  /** Write the file anew: what was there before is there until the first line is on disk. */
  static async begun(claim: Claim, line: string): Promise<Log> {
    const handle = await open(claim.beside, "w", 0o600); // it holds unsent messages
    try {
      await handle.writeFile(line);
      await handle.sync();
      await claim.replace();
      return new Log(claim, handle, (await handle.stat()).ino, line.length);
    } catch (error) {
      await handle.close();
      await rm(claim.beside, { force: true });
      throw error;
    }
  }

  /**
   * Add a line. Return whether that has succeeded; if not, the file has to be written anew. It fails
   * where another client's file lies by now, or none.
   */
  async add(line: string): Promise<boolean> {
    if (this.added > GROWTH_MAX * this.begun + SPARE) return false;
    this.added += line.length;
    try {
      await this.handle.appendFile(line);
      await this.handle.datasync();
      await this.claim.check();
      return (await stat(this.claim.path)).ino === this.inode;
    } catch {
      return false;
    }
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}
