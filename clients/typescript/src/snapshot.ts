/**
 * A device as an object for JSON, the same as the Python client's. Ids and offsets have 63 bits, so
 * they are decimal strings; fields that are 0 or empty are left out, as in protobuf's JSON.
 */

import { PositionSchema, SendSchema } from "./gen/schemas.js";
import { type Init, create } from "./codec.js";
import { Role } from "./gen/cecochat/v1/events_pb.js";
import type { Position, Send } from "./gen/cecochat/v1/messaging_pb.js";

/** All that has to survive a restart of a device. */
export interface Snapshot {
  user_id: string;
  device_id?: string;
  position: PositionJson | null;
  outbox: SendJson[];
  shown: Record<string, Record<string, string>>;
  since?: Record<string, string>;
  partition_count?: number;
}

interface PositionJson {
  logId?: string;
  partition?: number;
  offset?: string;
  clockMs?: string;
}

interface SendJson {
  clientMessageId: string;
  chatId: string;
  traceparent?: string;
  seenId?: string;
  message?: {
    text?: string;
    replyToId?: string;
    mentions?: MentionJson[];
    attachments?: AttachmentJson[];
  };
  receipt?: { deliveredUpTo?: string; readUpTo?: string };
  edit?: { messageId?: string; text?: string; mentions?: MentionJson[] };
  deletion?: { messageId?: string; asAdmin?: boolean };
  reaction?: { messageId?: string; emoji?: string; removed?: boolean };
  membership?: MembershipJson;
  settings?: { mutedUntilMs?: string; archived?: boolean; pinned?: boolean; accepted?: boolean };
}

interface MembershipJson {
  addedIds?: string[];
  removedIds?: string[];
  invitedIds?: string[];
  bannedIds?: string[];
  unbannedIds?: string[];
  appointments?: { userId?: string; role?: string }[];
  options?: { name?: string; isChannel?: boolean; isOpen?: boolean; hidesPast?: boolean };
}

interface MentionJson {
  userId?: string;
  start?: number;
  length?: number;
}

interface AttachmentJson {
  id?: string;
  name?: string;
  mediaType?: string;
  sizeBytes?: string;
  sha256?: string;
  receipt?: string;
}

export function positionJson(position: Position): PositionJson {
  const { logId, partition, offset, clockMs } = position;
  return present({ logId, partition, offset, clockMs });
}

export function positionFrom(json: PositionJson): Position {
  const { offset, clockMs, ...rest } = json;
  return create(PositionSchema, { ...rest, offset: id(offset), clockMs: id(clockMs) });
}

/** Write a send, of the kinds that a client sends. */
export function sendJson(send: Send): SendJson {
  const { clientMessageId, chatId, traceparent, seenId, body } = send;
  const json = present({ clientMessageId, chatId, traceparent, seenId }) as unknown as SendJson;
  if (KINDS.includes(body.case ?? "")) Object.assign(json, { [body.case!]: written(body.value!) });
  return json;
}

export function sendFrom(json: SendJson): Send {
  const { seenId, ...rest } = json;
  const [name, value] = Object.entries(rest).find(([name]) => KINDS.includes(name)) ?? [];
  const body = { case: name, value: value && read(value as Values) };
  const { clientMessageId, chatId, traceparent } = json;
  const head = { clientMessageId, chatId, ...(traceparent && { traceparent }) };
  return create(SendSchema, { ...head, seenId: id(seenId), body: body as Init<Send>["body"] & {} });
}

type Values = Record<string, unknown>;
const OF_SERVERS = ["$typeName", "sealed"];
const BYTES = ["sha256", "receipt"];
const KINDS = ["message", "receipt", "edit", "deletion", "reaction", "membership", "settings"];

/** Write a message and all in it. Lists are never empty in JSON. */
function written(value: object): Values {
  const entries = Object.entries(value).map(([name, each]): [string, unknown] => {
    if (Array.isArray(each)) return [name, each.length && each.map(writtenIn)];
    if (name === "role") return [name, each && `ROLE_${Role[each]}`];
    return [name, writtenIn(each)];
  });
  const own = entries.filter(([name]) => !OF_SERVERS.includes(name));
  return present(Object.fromEntries(own));
}

function writtenIn(value: unknown): unknown {
  if (value instanceof Uint8Array) return btoa(String.fromCharCode(...value));
  return value && typeof value === "object" ? written(value) : value;
}

/** Of what is kept as a string, ids of messages, times and sizes are read as numbers, and bytes and roles. */
function read(value: Values): Values {
  const entries = Object.entries(value).map(([name, each]): [string, unknown] => {
    if (Array.isArray(each)) return [name, each.map(readIn)];
    if (name === "role") return [name, roleNamed(each)];
    if (BYTES.includes(name)) return [name, bytesFrom(each as string)];
    const isLong = /(messageId|replyToId|UpTo|Ms|sizeBytes)$/.test(name);
    return [name, isLong ? id(each as string) : readIn(each)];
  });
  return Object.fromEntries(entries);
}

function readIn(value: unknown): unknown {
  return value && typeof value === "object" ? read(value as Values) : value;
}

function bytesFrom(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function roleNamed(name: unknown): Role {
  return Role[`${name}`.replace("ROLE_", "") as keyof typeof Role] ?? Role.UNSPECIFIED;
}

function id(text: string | undefined): bigint {
  return BigInt(text ?? 0);
}

/** Leave out what is 0 or empty, and write 64-bit numbers as strings. */
function present(fields: Values): Record<string, string> {
  const kept = Object.entries(fields).filter(([, value]) => value);
  return Object.fromEntries(
    kept.map(([name, value]) => [name, typeof value === "bigint" ? `${value}` : value]),
  ) as Record<string, string>;
}
