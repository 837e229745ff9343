/**
 * A device as an object for JSON, the same as the Python client's. Ids and offsets have 63 bits, so
 * they are decimal strings; fields that are 0 or empty are left out, as in protobuf's JSON.
 */

import { PositionSchema, SendSchema } from "./gen/schemas.js";
import { type Init, create } from "./codec.js";
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
  message?: { text?: string; replyToId?: string; mentions?: MentionJson[] };
  receipt?: { deliveredUpTo?: string; readUpTo?: string };
  edit?: { messageId?: string; text?: string; mentions?: MentionJson[] };
  deletion?: { messageId?: string; asAdmin?: boolean };
  reaction?: { messageId?: string; emoji?: string; removed?: boolean };
}

interface MentionJson {
  userId?: string;
  start?: number;
  length?: number;
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
  const { $typeName: _, ...value } = (body.value ?? {}) as Values;
  if (isKept(body.case)) json[body.case] = written(value);
  return json;
}

export function sendFrom(json: SendJson): Send {
  const { message, receipt, edit, deletion, reaction, seenId, ...rest } = json;
  const kept = { message, receipt, edit, deletion, reaction };
  const [name, value] = Object.entries(kept).find(([, each]) => each) ?? [];
  const body = { case: name, value: value && read(value) } as NonNullable<Init<Send>["body"]>;
  return create(SendSchema, { ...rest, seenId: id(seenId), body });
}

type Values = Record<string, unknown>;
type Kind = "message" | "receipt" | "edit" | "deletion" | "reaction";
const KINDS = ["message", "receipt", "edit", "deletion", "reaction"];

function isKept(kind: unknown): kind is Kind {
  return KINDS.includes(kind as Kind);
}

function written({ mentions, ...rest }: Values): object {
  const some = (mentions as Values[] | undefined)?.map(({ $typeName: _, ...each }) =>
    present(each),
  );
  return { ...present(rest), ...(some?.length && { mentions: some }) };
}

/** Of what is kept as a string, ids are read as numbers. */
function read(value: object): object {
  const entries = Object.entries(value);
  return Object.fromEntries(
    entries.map(([name, each]) => [name, /(Id|UpTo)$/.test(name) ? id(each) : each]),
  );
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
