/** The text of a file that keeps a device: a line for each save, with a checksum before it. */

import { createHash } from "node:crypto";
import { ChatError } from "./errors.js";
import type { Message } from "./events.js";
import type { Snapshot } from "./snapshot.js";

/** What a save has: the device as it is from then on, and messages that the lines before have not. */
export interface Saved {
  device: Snapshot;
  messages: Message[];
}

type Line = Snapshot & { messages?: MessageJson[] };
type MessageJson = Omit<Message, "id" | "sentAt"> & { id: string; sentAt: string };

export function lineOf({ device, messages }: Saved): string {
  const json = JSON.stringify({ ...device, messages: messages.map(written) });
  return `${checksum(json)} ${json}\n`;
}

/**
 * Return what the lines of a file have in all. The last one does not count if a crash tore it: its
 * save never resolved. Throws `storage_damaged`, with what to do about the file at `path`.
 */
export function savedIn(text: string, path: string): Saved {
  const read = text.startsWith("{")
    ? [oldFormat(text)]
    : text.replace(/\n$/, "").split("\n").map(checked);
  if (read.length > 1 && !read.at(-1)) read.pop(); // the first line is never torn: see `Claim.replace`
  const whole = read.filter((line) => line !== undefined);
  if (whole.length < read.length) throw damaged(path, read.indexOf(undefined) + 1);
  const { messages: _, ...device } = whole.at(-1)!;
  return { device, messages: whole.flatMap(({ messages }) => messages ?? []).map(revived) };
}

/** Return what a line says, if it is whole. */
function checked(line: string): Line | undefined {
  const json = line.slice(line.indexOf(" ") + 1);
  return line === `${checksum(json)} ${json}` ? JSON.parse(json) : undefined;
}

/** Return what a file says that is of the time before there were lines. */
function oldFormat(text: string): Line | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function checksum(json: string): string {
  return createHash("sha256").update(json).digest("hex").slice(0, 16);
}

function damaged(path: string, line: number): ChatError {
  const message = `line ${line} of ${path} is damaged: move the file away to begin as a new device`;
  return new ChatError("storage_damaged", message);
}

function written(message: Message): MessageJson {
  return { ...message, id: `${message.id}`, sentAt: message.sentAt.toISOString() };
}

function revived(message: MessageJson): Message {
  return { ...message, id: BigInt(message.id), sentAt: new Date(message.sentAt) };
}
