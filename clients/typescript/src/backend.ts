/** What a client asks of what is behind it. */

import type { Chat, Found, Message, Page } from "./events.js";
import type { Group, Members } from "./group.js";
import type { Answered, Asked } from "./reporting.js";
import type { Body, Queued } from "./sending.js";

export interface SendOptions {
  /** To repeat a send, pass the same. */
  clientMessageId?: string;
}

export interface PageRequest {
  before?: bigint | undefined;
  after?: bigint | undefined;
  limit?: number | undefined;
}

export interface SearchRequest {
  /** Only in this chat: a user, or the id of a chat. */
  chat?: string | undefined;
  before?: bigint | undefined;
  limit?: number | undefined;
}

/** What is behind a client: a `Core`, here or in another tab. */
export interface Backend {
  send(chatId: string, text: string, clientMessageId: string, again: boolean): Promise<bigint>;
  post(chatId: string, body: Body, clientMessageId: string, again: boolean): Promise<bigint>;
  chats(request: PageRequest): Promise<Chat[]>;
  page(chatId: string, request: PageRequest): Promise<Page>;
  search(text: string, chatId: string, request: PageRequest): Promise<Found>;
  reporting(asked: Asked): Promise<Answered>;
  group(chatId: string): Promise<Group>;
  members(chatId: string, after: string, asOf: bigint): Promise<Members>;
  /** Make a call of `cecochat.v1.Attachments`, whose request and answer are serialized. */
  attachments(name: string, request: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
  recent(chatId: string): Promise<Message[]>;
  queued(chatId: string): Promise<Queued[]>;
  markRead(chatId: string, messageId: bigint): unknown;
  watch(chatIds: readonly string[]): unknown;
  typing(chatId: string, active: boolean): unknown;
  hide(invisible: boolean): unknown;
  close(): Promise<void>;
}
