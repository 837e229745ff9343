/** What tests of the file save. */

import type { Message } from "../src/events.js";
import { file } from "../src/node.js";
import type { Snapshot } from "../src/snapshot.js";
import type { Kept } from "../src/storage.js";

export const CHAT = "d:alice~bot";

export function opened(path: string): Promise<Kept> {
  return file(path).open("https://chat.example.com", "bot");
}

export function bot(partition_count: number): Snapshot {
  return { user_id: "bot", position: null, outbox: [], shown: {}, partition_count };
}

/** A device that takes so much room that its file is soon written anew. */
export function large(n: number): Snapshot {
  const message = { text: "x".repeat(20_000) };
  return { ...bot(n), outbox: [{ clientMessageId: "queued", chatId: CHAT, message }] };
}

export function message(id: bigint, chatId = CHAT): Message {
  const [userId, text] = ["alice", `${id}`];
  return { id, chatId, userId, text, clientMessageId: text, sentAt: new Date(0) };
}
