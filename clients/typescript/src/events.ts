/** The plain values that a client hands to the application. */

import { type Attachment, attachmentOf } from "./attachments.js";
import type { ChatError } from "./errors.js";
import type { Event, Message as Said } from "./gen/cecochat/v1/events_pb.js";
import type { Send } from "./gen/cecochat/v1/messaging_pb.js";
import {
  type Chat as ChatAnswer,
  type Hole as HoleAnswer,
  Hole_Reason,
  type Mark,
  type MessageState,
  type SearchMessagesResponse,
} from "./gen/cecochat/v1/history_pb.js";
import {
  type GroupChange,
  type GroupOptions,
  type Role,
  groupChangeOf,
  optionsOf,
  withRole,
} from "./group.js";
import { timeOf } from "./ids.js";
import {
  type ChatSettings,
  type SettingsChanged,
  settingsChangedOf,
  settingsOf,
} from "./settings.js";

/** A user whom a text names. Places are counted in Unicode code points. */
export interface Mention {
  userId: string;
  start: number;
  length: number;
}

/** An edit, a deletion or a reaction: what happened to the message `messageId`. */
export interface Change {
  id: bigint;
  chatId: string;
  /** Who did it. */
  userId: string;
  kind: "edit" | "deletion" | "reaction";
  messageId: bigint;
  /** Of an edit: the new text. It is empty if the message has been deleted since. */
  text?: string;
  mentions?: Mention[];
  /** Of a deletion: an admin of the group deleted the message of a member. */
  asAdmin?: boolean;
  /** Of a reaction. */
  emoji?: string;
  /** The reaction is taken back. */
  removed?: boolean;
  /** Set if this device has sent it: it is accepted now. */
  clientMessageId?: string;
}

/**
 * A message. Sort the messages of a chat by `id`. What `history`, `chats` and `recent` return is as it
 * is now; what arrives is changed by later events, which a `Timeline` applies.
 */
export interface Message {
  id: bigint;
  chatId: string;
  /** The sender. */
  userId: string;
  /** Empty if it is deleted, erased or expired. */
  text: string;
  clientMessageId: string;
  /** When the server accepted it. */
  sentAt: Date;
  /** The message that this one answers. */
  replyToId?: bigint;
  mentions?: Mention[];
  /** The files that it carries; none if it is deleted or erased. */
  attachments?: Attachment[];
  /** The edit that gave it this text, if it was edited. */
  revisionId?: bigint;
  /** Set if it is deleted. */
  deletionId?: bigint;
  /** In the order of their ids. */
  reactions?: Change[];
  /** Set if the message was accepted, but its content is lost. */
  missing?: true;
  /** Set if its sender was erased, and its text with them. */
  erased?: true;
  /** Set if its chat does not keep it any more. Only the last message of a chat in a list can be. */
  expired?: true;
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
  /** Empty if it was neither a message nor an edit. */
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
  /** If the last that happened was a change of the group, this has only its id, its user and no text. */
  lastMessage: Message | undefined;
  lastGroupChange?: GroupChange;
  /** Of a group: what it is, and what this user is there, who has left it if there is no role. */
  options?: GroupOptions;
  role?: Role;
  settings: ChatSettings;
  /** In this dialog only the other user wrote, and this one has not accepted it. */
  isRequest: boolean;
  /** Among the last 1,000 messages. */
  unreadCount: number;
  /** Those of them that mention this user. */
  unreadMentionCount: number;
  marks: Receipt[];
  holes: Hole[];
  /** The last edit, deletion or reaction that this knows of; 0n if there was none. */
  lastChangeId: bigint;
}

/** What a chat has: messages and, in a group, the changes of it between them. */
export type Entry = Message | GroupChange;

/** A page of a chat, oldest first. */
/** Messages, newest first. */
export interface Found {
  messages: Message[];
  hasMore: boolean;
}

export interface Page {
  messages: Entry[];
  hasMore: boolean;
}

export type Status =
  | { state: "connecting" }
  | { state: "connected" }
  | { state: "waiting"; until: Date; error: ChatError }
  | { state: "closed"; error?: ChatError };

/** Whether another user types in a chat that is watched. */
export interface Typing {
  chatId: string;
  userId: string;
  active: boolean;
}

/** How the other user of a dialog is. Without `lastSeen`: online, hidden, or not known. */
export interface Presence {
  chatId: string;
  userId: string;
  online: boolean;
  lastSeen?: Date;
}

/** The argument of each event. */
export interface Events {
  message: Message;
  /** Also an own one, of this device or another. */
  change: Change;
  /** What has changed in a group, also by this client. */
  membership: GroupChange;
  /** What the user has set for a chat, also by this client. */
  settingschanged: SettingsChanged;
  receipt: Receipt;
  sent: Message;
  rejected: Rejected;
  caughtup: { serverId: string };
  hole: Hole;
  typing: Typing;
  presence: Presence;
  signalrefused: { error: ChatError };
  status: Status;
}

export type EventName = keyof Events;

/** An event that waits for its listeners. */
export type Occurrence = { [N in EventName]: { name: N; value: Events[N] } }[EventName];

export function messageOf(event: Event, state?: MessageState): Message {
  const { id, chatId, userId, clientMessageId, body } = event;
  const said = body.case === "message" ? saidIn(body.value) : { text: "" };
  const become = state && becomeOf(chatId, state);
  return { id, chatId, userId, ...said, clientMessageId, sentAt: timeOf(id), ...become };
}

function saidIn({
  text,
  replyToId,
  mentions,
  attachments,
  erased,
  expired,
}: Said): Pick<Message, "text" | "replyToId" | "mentions" | "attachments" | "erased" | "expired"> {
  const named = {
    ...(mentions.length > 0 && { mentions: mentions.map(mentionOf) }),
    ...(attachments.length > 0 && { attachments: attachments.map(attachmentOf) }),
  };
  const gone = { ...(erased && { erased }), ...(expired && { expired }) };
  return { text, ...(replyToId && { replyToId }), ...named, ...gone };
}

export function mentionOf({ userId, start, length }: Mention): Mention {
  return { userId, start, length };
}

/** What has become of a message, without what it is by default. */
function becomeOf(chatId: string, state: MessageState): Partial<Message> {
  const { messageId, revisionId, deletionId } = state;
  const reactions = state.reactions
    .filter(({ removed }) => !removed)
    .map(({ id, userId, emoji }): Change => ({
      id,
      chatId,
      userId,
      kind: "reaction",
      messageId,
      emoji,
    }));
  return {
    ...(revisionId && { revisionId }),
    ...(deletionId && { deletionId }),
    ...(reactions.length && { reactions }),
  };
}

/** Convert an event that changes a message. */
export function changeOf({
  id,
  chatId,
  userId,
  body,
}: Pick<Event, "id" | "chatId" | "userId" | "body">): Change | undefined {
  switch (body.case) {
    case "edit": {
      const { messageId, text, mentions } = body.value;
      const named = mentions.length > 0 && { mentions: mentions.map(mentionOf) };
      return { id, chatId, userId, kind: "edit", messageId, text, ...named };
    }
    case "deletion": {
      const { messageId, asAdmin } = body.value;
      return { id, chatId, userId, kind: "deletion", messageId, ...(asAdmin && { asAdmin }) };
    }
    case "reaction": {
      const { messageId, emoji, removed } = body.value;
      return {
        id,
        chatId,
        userId,
        kind: "reaction",
        messageId,
        emoji,
        ...(removed && { removed }),
      };
    }
  }
  return undefined;
}

/** Convert an event of a page, with what a message has become. */
export function entryOf(event: Event, state?: MessageState): Entry {
  const { body } = event;
  return body.case === "membership" ? groupChangeOf(event, body.value) : messageOf(event, state);
}

/** Convert what was found. */
export function foundFrom({ messages, states, hasMore }: SearchMessagesResponse): Found {
  const stateOf = new Map(states.map((state) => [state.messageId, state]));
  return { messages: messages.map((event) => messageOf(event, stateOf.get(event.id))), hasMore };
}

/** Convert an event of the stream. Return nothing for a kind that is not known, nor for what is not kept any more. */
export function occurrenceOf(event: Event): Occurrence | undefined {
  const { chatId, userId, body } = event;
  if ((body.case === "message" || body.case === "edit") && body.value.expired) return undefined;
  switch (body.case) {
    case "message":
      return { name: "message", value: messageOf(event) };
    case "membership":
      return { name: "membership", value: groupChangeOf(event, body.value) };
    case "receipt": {
      const { deliveredUpTo, readUpTo } = body.value;
      return { name: "receipt", value: { chatId, userId, deliveredUpTo, readUpTo } };
    }
    case undefined: // what a hole stands for, see `missing` in gap.ts; or a later version
      return event.clientMessageId && event.recipientIds.length === 0
        ? { name: "message", value: { ...messageOf(event), missing: true } }
        : undefined;
  }
  const settings = settingsChangedOf(event);
  if (settings) return { name: "settingschanged", value: settings };
  const change = changeOf(event);
  return change && { name: "change", value: change };
}

/** Return what tells that a send was accepted under this id. */
export function sentOf(userId: string, send: Send, id: bigint): Occurrence {
  const { chatId, clientMessageId } = send;
  const event = { id, chatId, userId, body: send.body, clientMessageId } as Event;
  const change = changeOf(event);
  if (change) return { name: "change", value: { ...change, clientMessageId } };
  const settings = settingsChangedOf(event);
  if (settings) return { name: "settingschanged", value: { ...settings, clientMessageId } };
  const entry = entryOf(event);
  if ("kind" in entry) return { name: "membership", value: { ...entry, isAsked: true } };
  return { name: "sent", value: entry };
}

export function textOf({ body }: Send): string {
  return body.case === "message" || body.case === "edit" ? body.value.text : "";
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
  const { chatId, lastMessage, lastMessageState, unreadCount, unreadMentionCount, options } = chat;
  const entry = lastMessage && entryOf(lastMessage);
  return {
    chatId,
    lastMessage: lastMessage && messageOf(lastMessage, lastMessageState),
    ...(entry && "kind" in entry && { lastGroupChange: entry }),
    ...(options && { options: optionsOf(options), ...withRole(chat.role) }),
    settings: settingsOf(chat.settings),
    isRequest: chat.isRequest,
    unreadCount,
    unreadMentionCount,
    marks: chat.marks.map((mark) => markOf(chatId, mark)),
    holes: chat.holes.map(holeOf),
    lastChangeId: chat.lastChangeId,
  };
}

/** Return whether a client has ended with one of these errors. */
export function wasEndedBy({ name, value }: Occurrence, codes: string[]): boolean {
  return name === "status" && value.state === "closed" && codes.includes(value.error?.code ?? "");
}

/** Return whether a client has ended. */
export function isEnd({ name, value }: Occurrence): boolean {
  return name === "status" && value.state === "closed";
}
