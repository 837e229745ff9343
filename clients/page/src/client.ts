/** Connects the page to `@cecochat/client`: its chats become chats with a user. */

import {
  type Client as Given,
  type Entry,
  type GroupChange,
  type Message as GivenMessage,
  type Status as GivenStatus,
  Timeline,
  connect as open,
  databaseName,
  indexedDb,
} from "@cecochat/client";

import { signedFor } from "./login";
import { type Group, type Member, inWords } from "./model/group";
import type { Message } from "./model/message";
import { isGroup, peerOf } from "./model/names";
import type { Settings } from "./model/settings";
import type { ChatSummary, Client, Connect, Found, Groups, Listener, Page, Safety, Status, Waiting } from "./port";

/** Connect as a user. It reconnects by itself, and keeps what it has in this browser. */
export const connect: Connect = async (me, listener) => {
  const { system } = await signedFor(me);
  const given = await open({
    url: location.origin,
    token: async () => (await signedFor(me)).token,
    userId: me,
    device: "chat page",
    storage: indexedDb((url, user) => databaseName(`${url} ${system}`, user)), // systems may have the same address
  });
  return new Adapter(given, listener);
};

type SendOptions = { clientMessageId: string } & NonNullable<Parameters<Given["send"]>[2]>;

class Adapter implements Client {
  readonly me: string;
  readonly groups: Groups;
  readonly safety: Safety;
  /** All messages that were told, as they are now. */
  private readonly timeline = new Timeline();
  /** What this page has sent besides messages. */
  private readonly changes = new Set<string>();
  /** The messages with files that it has sent. */
  private readonly carrying = new Set<string>();

  constructor(
    private readonly given: Given,
    private readonly listener: Listener,
  ) {
    this.me = given.userId;
    this.groups = groupsOf(given);
    this.safety = safetyOf(given);
    given.on("status", (status) => listener.status(plainStatus(status)));
    given.on("caughtup", () => listener.caughtUp());
    given.on("message", (message) => this.about(message.chatId, (peer) => listener.message(peer, this.now(message))));
    given.on("change", (change) =>
      this.about(change.chatId, (peer) => {
        const message = this.timeline.change(change);
        const changeId = change.kind === "reaction" ? undefined : change.id;
        listener.changed(peer, message && this.plain(message), changeId);
      }),
    );
    given.on("sent", (message) =>
      this.about(message.chatId, (peer) => listener.sent(message.clientMessageId, peer, this.now(message))),
    );
    given.on("rejected", ({ chatId, clientMessageId, text, error }) => {
      const isChange = this.changes.delete(clientMessageId) || (!text && !this.carrying.delete(clientMessageId));
      if (isChange) return listener.unchanged(error.message, clientMessageId, peerOf(this.me, chatId));
      this.about(chatId, (peer) => listener.rejected(clientMessageId, peer, text, error.message));
    });
    given.on("receipt", (receipt) =>
      this.about(receipt.chatId, (peer) => {
        if (receipt.userId === this.me) listener.read(peer, receipt.readUpTo);
        else if (!isGroup(peer)) listener.receipt(peer, receipt);
      }),
    );
    given.on("settingschanged", ({ chatId, id, settings }) =>
      this.about(chatId, (peer) => listener.chatSet(peer, id, settings)),
    );
    given.on("membership", (change) => void this.groupChanged(change));
    given.on("typing", ({ chatId, userId, active }) =>
      this.about(chatId, (peer) => listener.typing(peer, userId, active)),
    );
    given.on("presence", (presence) => this.about(presence.chatId, (peer) => listener.presence(peer, presence)));
    given.on("hole", (hole) => listener.hole(peerOf(this.me, hole.chatId), hole));
  }

  send(peer: string, text: string, replyToId?: bigint, files: readonly File[] = []): string {
    const key = crypto.randomUUID();
    const options = { clientMessageId: key, ...(replyToId && { replyToId }) };
    if (files.length) void this.sendWith(files, peer, text, options);
    else this.sendNow(peer, text, options);
    return key;
  }

  private sendNow(peer: string, text: string, options: SendOptions): void {
    this.given.send(peer, text, options).catch((error: { code: string; message: string }) => {
      if (error.code === "invalid_argument") this.listener.rejected(options.clientMessageId, peer, text, error.message);
    }); // all else is told as an event, or sent the next time
  }

  private async sendWith(files: readonly File[], peer: string, text: string, options: SendOptions): Promise<void> {
    const key = options.clientMessageId;
    try {
      const uploading = files.map((file) => this.given.files.upload(peer, file, { clientMessageId: key }));
      const attachments = await Promise.all(uploading);
      this.carrying.add(key);
      this.sendNow(peer, text, { ...options, attachments });
    } catch (error) {
      this.listener.rejected(key, peer, text, (error as Error).message);
    }
  }

  async link(message: bigint, file: string): Promise<string> {
    const found = this.timeline.get(message);
    const attachment = found?.attachments?.find(({ id }) => id === file);
    if (!found || !attachment) throw new Error("the message is not here any more");
    return this.given.files.link(found, attachment);
  }

  edit(peer: string, id: bigint, text: string): void {
    this.change(peer, (options) => this.given.edit(peer, id, text, options));
  }

  remove(peer: string, id: bigint, asAdmin: boolean): void {
    this.change(peer, (options) => this.given.delete(peer, id, { ...options, asAdmin }));
  }

  react(peer: string, id: bigint, emoji: string, removed: boolean): void {
    this.change(peer, (options) => this.given.react(peer, id, emoji, { ...options, removed }));
  }

  set(peer: string, { mutedUntil, ...rest }: Settings): string {
    const settings = { ...rest, ...(mutedUntil && { mutedUntil }) };
    return this.change(peer, async (options) => {
      const id = await this.given.setChat(peer, settings, options);
      this.listener.chatSet(peer, id, settings, options.clientMessageId);
      return id;
    });
  }

  private change(peer: string, make: (options: { clientMessageId: string }) => Promise<bigint>): string {
    const key = crypto.randomUUID();
    this.changes.add(key);
    make({ clientMessageId: key }).catch((error: { code: string; message: string }) => {
      if (error.code === "invalid_argument") this.listener.unchanged(error.message, key, peer);
    });
    return key;
  }

  private now(entry: Entry): Message {
    return "kind" in entry ? { ...this.plain({ ...entry, text: "" }), note: inWords(entry) } : this.plain(this.timeline.add(entry));
  }

  private plain(given: GivenMessage): Message {
    const { id, userId, text, sentAt, clientMessageId, missing, replyToId, revisionId, deletionId, erased, expired } = given;
    return {
      id,
      from: userId,
      text: missing ? undefined : text,
      at: sentAt,
      key: clientMessageId,
      replyTo: replyToId,
      mentionsMe: !!given.mentions?.some((each) => each.userId === this.me),
      changeId: deletionId || revisionId || undefined,
      edited: !!revisionId,
      deleted: !!deletionId || !!erased || !!expired,
      erased: !!erased,
      expired: !!expired,
      files: (given.attachments ?? []).map(({ id, name, mediaType, sizeBytes }) => ({
        id,
        name,
        type: mediaType,
        size: sizeBytes,
      })),
      reactions: (given.reactions ?? []).map(({ emoji = "", userId }) => ({ emoji, from: userId })),
    };
  }

  /** Tell what a change of a group came to: of an own one, only the history knows. */
  private async groupChanged(change: GroupChange): Promise<void> {
    const { chatId, id, isAsked } = change;
    this.listener.groupChanged(chatId);
    if (!isAsked) return this.listener.message(chatId, this.now(change));
    try {
      for await (const each of this.given.entries(chatId, { before: id + 1n, limit: 1 })) {
        return this.listener.message(chatId, this.now(each));
      }
    } catch {
      // it comes with the page that is read next
    }
  }

  async group(peer: string): Promise<Group | undefined> {
    try {
      return await this.given.groups.get(peer);
    } catch (error) {
      if ((error as { code: string }).code === "not_found") return undefined;
      throw error;
    }
  }

  async stored(peer: string): Promise<readonly Message[]> {
    return (await this.given.recent(peer)).map((each) => this.now(each));
  }

  async waiting(peer: string): Promise<readonly Waiting[]> {
    const queued = await this.given.queued(peer);
    return queued.map(({ clientMessageId, text }) => ({ key: clientMessageId, text }));
  }

  async chats(): Promise<readonly ChatSummary[]> {
    const found: ChatSummary[] = [];
    for (const chat of await this.given.chats()) {
      const { lastMessage, lastGroupChange, unreadCount: unread, unreadMentionCount: mentions } = chat;
      const { holes, lastChangeId: changeId, settings, isRequest } = chat;
      const peer = peerOf(this.me, chat.chatId);
      if (peer === undefined || !lastMessage) continue;
      const marks = chat.marks.find((each) => each.userId === peer);
      const readUpTo = chat.marks.find((each) => each.userId === this.me)?.readUpTo ?? 0n;
      const group = chat.options && { ...chat.options, role: chat.role };
      const last = this.now(lastGroupChange ?? lastMessage);
      const counts = { unread, mentions, readUpTo };
      found.push({ peer, group, settings, ...counts, last, marks, holes, changeId, isRequest });
    }
    return found;
  }

  async page(peer: string, before: bigint | undefined, limit: number): Promise<Page> {
    const messages: Message[] = [];
    for await (const each of this.given.entries(peer, { before, limit })) {
      messages.unshift(this.now(each));
      if (messages.length === limit) return { messages, more: true };
    }
    return { messages, more: false };
  }

  async search(text: string, limit: number): Promise<readonly Found[]> {
    const found: Found[] = [];
    for await (const each of this.given.search(text, { limit })) {
      found.push({ peer: peerOf(this.me, each.chatId)!, message: this.now(each) });
      if (found.length === limit) break;
    }
    return found;
  }

  markRead(peer: string, id: bigint): void {
    this.given.markRead(peer, id);
  }

  watch(peers: readonly string[]): void {
    this.given.watch(peers);
  }

  typing(peer: string, active: boolean): void {
    this.given.typing(peer, active);
  }

  close(): void {
    void this.given.close();
  }

  private about(chatId: string, tell: (peer: string) => void): void {
    const peer = peerOf(this.me, chatId);
    if (peer !== undefined) tell(peer);
  }
}

function groupsOf({ groups }: Given): Groups {
  return {
    async members(peer) {
      const found: Member[] = [];
      for await (const each of groups.members(peer)) found.push(each);
      return found;
    },
    create: (name, members) => groups.create(name, { members }),
    add: (peer, users) => groups.add(peer, users),
    invite: (peer, users) => groups.invite(peer, users),
    remove: (peer, users) => groups.remove(peer, users),
    rename: (peer, name) => groups.rename(peer, name),
    appoint: (peer, user, role) => groups.appoint(peer, user, role),
  };
}

function safetyOf(given: Given): Safety {
  return {
    report: (peer, message, reason, text) =>
      message === undefined ? given.reportUser(peer, reason, text) : given.report(peer, message, reason, text),
    block: (user) => given.block(user),
    unblock: (user) => given.unblock(user),
    async blocked() {
      const found: string[] = [];
      for await (const { userId } of given.blocked()) found.push(userId);
      return found;
    },
  };
}

function plainStatus(status: GivenStatus): Status {
  return status.state === "closed" ? { state: "closed", why: status.error?.message ?? "" } : status;
}

