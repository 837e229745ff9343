/** The plain values that a client hands to the application. */

import type { ChatError } from "./errors.js";
import type { Event } from "./gen/cecochat/v1/events_pb.js";
import type { Send } from "./gen/cecochat/v1/messaging_pb.js";
import {
  type Chat as ChatAnswer,
  type Hole as HoleAnswer,
  Hole_Reason,
  type Mark,
} from "./gen/cecochat/v1/history_pb.js";
import { timeOf } from "./ids.js";

/** A message. Sort the messages of a chat by `id`. */
export interface Message {
  id: bigint;
  chatId: string;
  /** The sender. */
  userId: string;
  text: string;
  clientMessageId: string;
  /** When the server accepted it. */
  sentAt: Date;
  /** Set if the message was accepted, but its content is lost. */
  missing?: true;
}

/** How far `userId` has received and read a chat; 0n means nothing new. */
export interface Receipt {
  chatId: string;
  userId: string;
  deliveredUpTo: bigint;
  readUpTo: bigint;
}

/** A send that was rejected for good. */
export interface Rejected {
  chatId: string;
  text: string;
  clientMessageId: string;
  error: ChatError;
}

/** A range of ids, both ends included, in which messages may be missing for good. */
export interface Hole {
  chatId: string;
  firstId: bigint;
  lastId: bigint;
  /** `trimmed`, `unproven`, `refused`, `lost` or `vanished`. */
  reason: string;
}

/** One entry in the list of chats. */
export interface Chat {
  chatId: string;
  lastMessage: Message | undefined;
  /** Among the last 1,000 messages. */
  unreadCount: number;
  marks: Receipt[];
  holes: Hole[];
}

/** A page of a chat, oldest first. */
export interface Page {
  messages: Message[];
  hasMore: boolean;
}

export type Status =
  | { state: "connecting" }
  | { state: "connected" }
  | { state: "waiting"; until: Date; error: ChatError }
  | { state: "closed"; error?: ChatError };

/** The argument of each event. */
export interface Events {
  message: Message;
  receipt: Receipt;
  sent: Message;
  rejected: Rejected;
  caughtup: { serverId: string };
  hole: Hole;
  status: Status;
}

export type EventName = keyof Events;

/** An event that waits for its listeners. */
export type Occurrence = { [N in EventName]: { name: N; value: Events[N] } }[EventName];

export function messageOf(event: Event): Message {
  const { id, chatId, userId, clientMessageId, body } = event;
  const text = body.case === "message" ? body.value.text : "";
  return { id, chatId, userId, text, clientMessageId, sentAt: timeOf(id) };
}

/** Convert an event of the stream. Return nothing for a kind that is not known. */
export function occurrenceOf(event: Event): Occurrence | undefined {
  const { chatId, userId, body } = event;
  switch (body.case) {
    case "message":
      return { name: "message", value: messageOf(event) };
    case "receipt": {
      const { deliveredUpTo, readUpTo } = body.value;
      return { name: "receipt", value: { chatId, userId, deliveredUpTo, readUpTo } };
    }
    case undefined: // what a hole stands for, see `missing` in gap.ts; or a later version
      return event.clientMessageId && event.recipientIds.length === 0
        ? { name: "message", value: { ...messageOf(event), missing: true } }
        : undefined;
  }
  return undefined;
}

export function sentMessage(userId: string, send: Send, id: bigint): Message {
  const { chatId, clientMessageId } = send;
  return { id, chatId, userId, text: textOf(send), clientMessageId, sentAt: timeOf(id) };
}

export function textOf(send: Send): string {
  return send.body.case === "message" ? send.body.value.text : "";
}

export function markOf(chatId: string, mark: Mark): Receipt {
  const { userId, deliveredUpTo, readUpTo } = mark;
  return { chatId, userId, deliveredUpTo, readUpTo };
}

export function holeOf(hole: HoleAnswer): Hole {
  const { chatId, firstId, lastId, reason } = hole;
  return { chatId, firstId, lastId, reason: (Hole_Reason[reason] ?? `${reason}`).toLowerCase() };
}

export function chatFrom(chat: ChatAnswer): Chat {
  const { chatId, lastMessage, unreadCount } = chat;
  return {
    chatId,
    lastMessage: lastMessage && messageOf(lastMessage),
    unreadCount,
    marks: chat.marks.map((mark) => markOf(chatId, mark)),
    holes: chat.holes.map(holeOf),
  };
}
