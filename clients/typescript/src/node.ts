/** Storage for programs on Node, Deno and Bun: `import { file } from "@cecochat/client/node"`. */

import { open, readFile } from "node:fs/promises";
import { Claim } from "./claim.js";
import { ChatError } from "./errors.js";
import type { Message } from "./events.js";
import type { Snapshot } from "./snapshot.js";
import { type Kept, MemoryKept, type Storage, newest } from "./storage.js";

/**
 * Keep the device of one user in a JSON file, which only its owner may read. It is durable: each
 * save is synced to disk, with the newest messages: up to 200 of a chat, and 1,000 of all chats. The
 * file belongs to the client that opened it last: one that had it before ends with `storage_taken`.
 */
export function file(path: string): Storage {
  return {
    async open(_url, userId) {
      await load(path, userId); // a file of another user is not taken over
      const claim = await Claim.of(path);
      const { messages = [], ...device } = (await load(path, userId)) ?? {};
      return new FileKept(claim, "user_id" in device ? device : undefined, messages.map(revived));
    },
  };
}

const MESSAGES_MAX = 1_000; // in the file, which is written anew by each save

/** What a file holds: the snapshot, and the newest messages. */
interface Content extends Snapshot {
  messages?: MessageJson[];
}

type MessageJson = Omit<Message, "id" | "sentAt"> & { id: string; sentAt: string };

async function load(path: string, userId: string): Promise<Content | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const content = JSON.parse(text) as Content;
  if (content.user_id === userId) return content;
  const message = `${path} belongs to ${content.user_id}: use a file of its own for ${userId}`;
  throw new ChatError("storage_failed", message);
}

class FileKept extends MemoryKept implements Kept {
  constructor(
    private readonly claim: Claim,
    device: Snapshot | undefined,
    private messages: Message[],
  ) {
    super();
    this.device = device;
    this.add(messages);
  }

  override async save(device: Snapshot, messages: Message[]): Promise<void> {
    await super.save(device, messages);
    this.messages = newest([...this.messages, ...messages], MESSAGES_MAX);
    const content: Content = { ...device, messages: this.messages.map(written) };
    const opened = await open(this.claim.beside, "w", 0o600); // it holds unsent messages
    try {
      await opened.writeFile(JSON.stringify(content));
      await opened.sync();
    } finally {
      await opened.close();
    }
    await this.claim.replace();
  }
}

function written(message: Message): MessageJson {
  return { ...message, id: `${message.id}`, sentAt: message.sentAt.toISOString() };
}

function revived(message: MessageJson): Message {
  return { ...message, id: BigInt(message.id), sentAt: new Date(message.sentAt) };
}
