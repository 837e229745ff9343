/** Storage for programs on Node, Deno and Bun: `import { file } from "@cecochat/client/node"`. */

import { open, readFile, rename } from "node:fs/promises";
import { ChatError } from "./errors.js";
import type { Message } from "./events.js";
import type { Snapshot } from "./snapshot.js";
import { type Kept, MemoryKept, type Storage, newest } from "./storage.js";

/**
 * Keep the device of one user in a JSON file, which only its owner may read. It is durable: each
 * save is synced to disk, with the newest messages: up to 200 of a chat, and 1,000 of all chats. Give
 * each client its own file.
 */
export function file(path: string): Storage {
  return {
    async open(_url, userId) {
      const { messages = [], ...device } = (await load(path, userId)) ?? {};
      return new FileKept(path, "user_id" in device ? device : undefined, messages.map(revived));
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
    private readonly path: string,
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
    const beside = `${this.path}.new`;
    const opened = await open(beside, "w", 0o600); // it holds messages that have not been sent
    try {
      await opened.writeFile(JSON.stringify(content));
      await opened.sync();
    } finally {
      await opened.close();
    }
    await rename(beside, this.path);
  }
}

function written(message: Message): MessageJson {
  return { ...message, id: `${message.id}`, sentAt: message.sentAt.toISOString() };
}

function revived(message: MessageJson): Message {
  return { ...message, id: BigInt(message.id), sentAt: new Date(message.sentAt) };
}
