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
  message?: { text?: string };
  receipt?: { deliveredUpTo?: string; readUpTo?: string };
}

export function positionJson(position: Position): PositionJson {
  const { logId, partition, offset, clockMs } = position;
  return present({ logId, partition, offset, clockMs });
}

export function positionFrom(json: PositionJson): Position {
  const { offset, clockMs, ...rest } = json;
  return create(PositionSchema, { ...rest, offset: id(offset), clockMs: id(clockMs) });
}

/** Write a send, which is a message or a receipt: a client sends nothing else. */
export function sendJson(send: Send): SendJson {
  const { clientMessageId, chatId, traceparent, seenId, body } = send;
  const json = present({ clientMessageId, chatId, traceparent, seenId }) as unknown as SendJson;
  if (body.case === "message") json.message = present({ text: body.value.text });
  if (body.case === "receipt") {
    const { deliveredUpTo, readUpTo } = body.value;
    json.receipt = present({ deliveredUpTo, readUpTo });
  }
  return json;
}

export function sendFrom(json: SendJson): Send {
  const { message, receipt, seenId, ...rest } = json;
  return create(SendSchema, { ...rest, seenId: id(seenId), body: bodyFrom(message, receipt) });
}

function bodyFrom(
  message: SendJson["message"],
  receipt: SendJson["receipt"],
): NonNullable<Init<Send>["body"]> {
  if (message) return { case: "message", value: message };
  if (!receipt) return { case: undefined };
  const { deliveredUpTo, readUpTo } = receipt;
  return {
    case: "receipt",
    value: { deliveredUpTo: id(deliveredUpTo), readUpTo: id(readUpTo) },
  };
}

function id(text: string | undefined): bigint {
  return BigInt(text ?? 0);
}

/** Leave out what is 0 or empty, and write 64-bit numbers as strings. */
function present(fields: Record<string, string | number | bigint>): Record<string, string> {
  const kept = Object.entries(fields).filter(([, value]) => value);
  return Object.fromEntries(
    kept.map(([name, value]) => [name, typeof value === "bigint" ? `${value}` : value]),
  ) as Record<string, string>;
}
