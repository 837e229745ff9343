/** The client that an application uses. */

import { checkClientMessageId, checkEmoji, checkMessageId } from "./arguments.js";
import { checkPage, checkText, peopleIn } from "./arguments.js";
import { type Attachment, type Call, Files, attachmentsFrom } from "./attachments.js";
import type { Backend, PageRequest, SearchRequest, SendOptions } from "./backend.js";
import type { Body, Queued } from "./sending.js";
import { invalid } from "./errors.js";
import type { Chat, Entry, EventName, Events, Mention, Message } from "./events.js";
import type { Occurrence, Status } from "./events.js";
import { Groups } from "./groups.js";
import { chatOf } from "./ids.js";
import type { Fetch } from "./lookup.js";
import { newId } from "./newid.js";
import type { Blocked } from "./reporting.js";
import { type ChatSettings, settingsFrom } from "./settings.js";

const WATCHED_MAX = 64;

type Listener<N extends EventName> = (value: Events[N]) => unknown;

/** A connected device, made by `connect`. It reconnects and resumes by itself. */
export class Client {
  private readonly listeners = new Map<EventName, Set<Listener<never>>>();
  /** Makes and changes groups. */
  groups!: Groups;
  /** Uploads and reads the files that messages carry. */
  files!: Files;
  private backend!: Backend;
  private current: Status = { state: "connecting" };

  constructor(
    /** The id of the user that this client belongs to. */
    readonly userId: string,
  ) {}

  /** Whether it is connected just now, and if not, why. */
  get status(): Status {
    return this.current;
  }

  /** Have a function called with each event of a name. Call what is returned to end that. */
  on<N extends EventName>(name: N, listener: Listener<N>): () => void {
    const listeners = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /**
   * Send a message to a user or a chat. Resolves with its id once it can no longer be lost, and
   * waits while there is no connection. To repeat a send, pass the same `clientMessageId`.
   */
  async send(
    to: string,
    text: string,
    options: SendOptions & {
      /** The message of the same chat that this one answers. */
      replyToId?: bigint;
      mentions?: Mention[];
      /** What `files.upload` has resolved with, for this `clientMessageId`. Then there need be no text. */
      attachments?: Attachment[];
    } = {},
  ): Promise<bigint> {
    const { clientMessageId, replyToId, mentions, attachments } = options;
    if (text || !attachments?.length) checkText(text);
    if (replyToId || mentions?.length || attachments?.length) {
      checkMessageId("replyToId", replyToId ?? 0n);
      const said = {
        text,
        ...(replyToId && { replyToId }),
        ...(mentions && { mentions }),
        ...(attachments && { attachments: attachmentsFrom(attachments) }),
      };
      return this.post(to, { case: "message", value: said }, options);
    }
    const id = clientMessageId ?? newId();
    checkClientMessageId(id);
    return this.backend.send(this.chat(to), text, id, !!clientMessageId);
  }

  /**
   * Give an own message another text. Resolves with the id of the edit once it can no longer be lost.
   * An edit of a message that is not there, or that is deleted, changes nothing.
   */
  async edit(
    chat: string,
    messageId: bigint,
    text: string,
    options: SendOptions & { mentions?: Mention[] } = {},
  ): Promise<bigint> {
    checkMessageId("messageId", messageId);
    checkText(text);
    const { mentions } = options;
    const value = { messageId, text, ...(mentions && { mentions }) };
    return this.post(chat, { case: "edit", value }, options);
  }

  /**
   * Delete an own message for everybody, for good; in a group, as an admin, also that of a member
   * with `asAdmin`.
   */
  async delete(
    chat: string,
    messageId: bigint,
    options: SendOptions & { asAdmin?: boolean } = {},
  ): Promise<bigint> {
    checkMessageId("messageId", messageId);
    const { asAdmin = false } = options;
    return this.post(chat, { case: "deletion", value: { messageId, asAdmin } }, options);
  }

  /** Add an emoji to a message, or take it back if `removed`. */
  async react(
    chat: string,
    messageId: bigint,
    emoji: string,
    options: SendOptions & { removed?: boolean } = {},
  ): Promise<bigint> {
    checkMessageId("messageId", messageId);
    checkEmoji(emoji);
    const { removed = false } = options;
    return this.post(chat, { case: "reaction", value: { messageId, emoji, removed } }, options);
  }

  /**
   * Set how this user wants to have a chat, on all their devices: all of it, also what stays as it is
   * (`Chat.settings`). What is left out is not so. Resolves with the id of the event once it can no
   * longer be lost.
   */
  async setChat(
    chat: string,
    settings: Partial<ChatSettings>,
    options: SendOptions = {},
  ): Promise<bigint> {
    return this.post(chat, { case: "settings", value: settingsFrom(settings) }, options);
  }

  private post(chat: string, body: Body, { clientMessageId }: SendOptions): Promise<bigint> {
    const id = clientMessageId ?? newId();
    checkClientMessageId(id);
    return this.backend.post(this.chat(chat), body, id, !!clientMessageId);
  }

  /** Return the stored messages of a chat, oldest first. This needs no server. */
  async recent(chat: string): Promise<Message[]> {
    return this.backend.recent(this.chat(chat));
  }

  /** Return the messages of a chat that are not acknowledged yet, oldest first. */
  async queued(chat: string): Promise<Queued[]> {
    return this.backend.queued(this.chat(chat));
  }

  /**
   * Return the user's chats, the one with the newest message first. `before` continues the list:
   * pass the id of the last chat's last message.
   */
  async chats(request: Omit<PageRequest, "after"> = {}): Promise<Chat[]> {
    checkPage(request);
    return this.backend.chats(request);
  }

  /**
   * Go through the messages of a chat: from the newest down, from `before` down, or from `after` up.
   * They are fetched `limit` at a time.
   */
  async *history(chat: string, request: PageRequest = {}): AsyncGenerator<Message, void> {
    for await (const each of this.entries(chat, request)) if (!("kind" in each)) yield each;
  }

  /**
   * Go through the messages of the user's chats that have all words of a text, from the newest down, or
   * from `before` down. The last word may be the beginning of a longer one. They are fetched `limit` at
   * a time.
   */
  async *search(text: string, request: SearchRequest = {}): AsyncGenerator<Message, void> {
    let { chat, before, limit } = request;
    checkPage({ before, limit });
    const chatId = chat === undefined ? "" : this.chat(chat);
    for (let more = true; more;) {
      const page = await this.backend.search(text, chatId, { before, limit });
      yield* page.messages;
      more = page.hasMore;
      before = page.messages.at(-1)?.id;
    }
  }

  /** Go through the messages of a chat as `history` does, and the changes of a group between them. */
  async *entries(chat: string, request: PageRequest = {}): AsyncGenerator<Entry, void> {
    const chatId = this.chat(chat);
    let { before, after } = request;
    checkPage(request);
    for (let more = true; more;) {
      const page = await this.backend.page(chatId, { ...request, before, after });
      const messages = after === undefined ? page.messages.reverse() : page.messages;
      yield* messages;
      more = page.hasMore;
      const last = messages.at(-1)?.id;
      if (after === undefined) before = last;
      else after = last;
    }
  }

  /**
   * Report a message of a chat to the moderators: why, as a code that your product chooses, and what
   * the user says about it, up to 1,000 bytes. Resolves with the id of the report, which is the same
   * if the user reports the message again.
   */
  async report(chat: string, messageId: bigint, reason: string, text = ""): Promise<string> {
    checkMessageId("messageId", messageId);
    const report = { chatId: this.chat(chat), messageId, reason, text };
    return (await this.backend.reporting({ report })).reportId ?? "";
  }

  /**
   * Report a user to the moderators. Resolves with the id of the report, which is the same until
   * somebody has decided about it.
   */
  async reportUser(userId: string, reason: string, text = ""): Promise<string> {
    peopleIn([userId]);
    return (await this.backend.reporting({ report: { userId, reason, text } })).reportId ?? "";
  }

  /** Block a user, if they are not blocked yet. */
  async block(userId: string): Promise<void> {
    peopleIn([userId]);
    await this.backend.reporting({ block: userId });
  }

  /** No longer block a user. */
  async unblock(userId: string): Promise<void> {
    peopleIn([userId]);
    await this.backend.reporting({ unblock: userId });
  }

  /** Go through those whom the user blocks, in the order of their user ids. */
  async *blocked(): AsyncGenerator<Blocked, void> {
    for (let above = "", more = true; more;) {
      const { blocked = [], hasMore = false } = await this.backend.reporting({ above });
      yield* blocked;
      more = hasMore && blocked.length > 0;
      above = blocked.at(-1)?.userId ?? above;
    }
  }

  /** Tell the others that this user has read a chat up to that message. */
  markRead(chat: string, messageId: bigint): void {
    checkMessageId("messageId", messageId);
    this.backend.markRead(this.chat(chat), messageId);
  }

  /**
   * Watch the chats that are on the screen, named by user or chat, and no others: at most 64. The
   * events `typing` and, of dialogs, `presence` say how the others are.
   */
  watch(chats: readonly string[]): void {
    const chatIds = [...new Set(chats.map((each) => this.chat(each)))];
    if (chatIds.length > WATCHED_MAX) throw invalid(`watch at most ${WATCHED_MAX} chats`);
    this.backend.watch(chatIds);
  }

  /**
   * Tell the others that this user types in a chat: call it at each key. With `active` false, the
   * user has stopped; a message says so by itself.
   */
  typing(chat: string, active = true): void {
    this.backend.typing(this.chat(chat), active);
  }

  /** Hide from everybody whether this user is online, or show it again. */
  hide(invisible = true): void {
    this.backend.hide(invisible);
  }

  /** Send the remaining receipts, save the state and disconnect. */
  close(): Promise<void> {
    return this.backend.close();
  }

  private chat(chat: string): string {
    const id = typeof chat === "string" && chatOf(this.userId, chat);
    if (!id) throw invalid(`${this.userId} has no chat ${JSON.stringify(chat)}`);
    return id;
  }

  /** Only `connect` does it. @internal */
  _open(backend: Backend, url: string, fetch: Fetch): void {
    this.backend = backend;
    const call: Call = (name, request) => backend.attachments(name, request);
    this.files = new Files(url, fetch, call, (chat) => this.chat(chat));
    this.groups = new Groups(this.userId, backend, (chatId, value, options) =>
      this.post(chatId, { case: "membership", value }, options),
    );
  }

  /** Hand an event to the listeners. It is taken when this has resolved. @internal */
  async _emit({ name, value }: Occurrence): Promise<void> {
    if (name === "status") this.current = value;
    const listeners = [...(this.listeners.get(name) ?? [])];
    await Promise.all(listeners.map((listener) => listener(value as never)));
  }
}
