/** What a server says, for tests of the pure classes. */

import { EventSchema, SendSchema, ServerItemSchema } from "../src/gen/schemas.js";
import { type Init, create } from "../src/codec.js";
import type { Event } from "../src/gen/cecochat/v1/events_pb.js";
import type { Send, ServerItem } from "../src/gen/cecochat/v1/messaging_pb.js";

export const CHAT = "d:alice~bob";

type Item = NonNullable<Init<ServerItem>["item"]>;

export function item(item: Item): ServerItem {
  return create(ServerItemSchema, { item });
}

export function welcome(offset: bigint, upTo: Record<number, bigint> = {}): ServerItem {
  const position = { logId: "log", partition: 0, offset, clockMs: offset };
  return item({ case: "welcome", value: { position, upTo, partitionCount: 12, userId: "alice" } });
}

export function caughtUp(offset: bigint): ServerItem {
  return item({ case: "caughtUp", value: { offset, clockMs: offset } });
}

export function delivered(offset: bigint, event: Event): ServerItem {
  return item({ case: "delivered", value: { offset, clockMs: offset, event } });
}

export function ack(offset: bigint, clientMessageId: string, messageId: bigint): ServerItem {
  return item({ case: "ack", value: { offset, clockMs: offset, clientMessageId, messageId } });
}

export function event(id: bigint, userId: string, clientMessageId = `e${id}`): Event {
  const body = { case: "message", value: { text: `${id}` } } as const;
  return create(EventSchema, { id, userId, chatId: CHAT, clientMessageId, body });
}

export function send(clientMessageId: string, text = clientMessageId): Send {
  const body = { case: "message", value: { text } } as const;
  return create(SendSchema, { clientMessageId, chatId: CHAT, body });
}
