import type { ChatSummary } from "../port";
import { Conversation } from "./conversation";
import type { Message } from "./message";

/** All chats of a user: those with messages, the newest first, and those just begun. */
export class Chats {
  /** False until the list was read for the first time. */
  loaded = false;
  private readonly byPeer = new Map<string, Conversation>();
  private readonly summaries = new Map<string, Message>();

  constructor(readonly me: string) {}

  /** Return the chat with a user or of a group, which begins with that if there is none. */
  with(peer: string): Conversation {
    let chat = this.byPeer.get(peer);
    if (!chat) {
      chat = new Conversation(this.me, peer);
      this.byPeer.set(peer, chat);
    }
    return chat;
  }

  /** Take in a line of the list, and return its chat. It may be older than the last one. */
  list(line: ChatSummary): Conversation {
    const { peer, last } = line;
    const chat = this.with(peer);
    chat.tell(last, line);
    if (last.id >= (this.summaries.get(peer)?.id ?? 0n)) this.summaries.set(peer, last);
    chat.read(line.readUpTo);
    chat.settings.list(line.settings);
    line.holes.forEach((hole) => chat.addHole(hole));
    if (line.marks) chat.mark(line.marks);
    chat.asks = line.isRequest;
    return chat;
  }

  /** Note what has become of a message. Return whether it is in its chat. */
  changed(peer: string, message: Message): boolean {
    const chat = this.with(peer);
    const isHere = chat.get(message.id) !== undefined;
    if (isHere) chat.add(message);
    if (chat.quoted.has(message.id)) chat.quoted.set(message.id, message);
    if (this.summaries.get(peer)?.id === message.id) this.summaries.set(peer, message);
    return isHere;
  }

  lastOf(chat: Conversation): Message | undefined {
    const known = chat.newest;
    const told = this.summaries.get(chat.peer);
    return known && (!told || told.id <= known.id) ? known : told;
  }

  /** The chats in the order of their last line, but pinned ones first and archived ones last. */
  get sorted(): Conversation[] {
    return [...this.byPeer.values()].sort((a, b) => place(a) - place(b) || this.usedAt(b) - this.usedAt(a));
  }

  /** How many messages are unread in all chats that are neither muted nor requests. */
  get unread(): number {
    return unreadIn([...this.byPeer.values()].filter(isHeard));
  }

  /** When the next chat is not muted any more, in ms since 1970; undefined if none will be. */
  nextHeardMs(now = Date.now()): number | undefined {
    const ends = [...this.byPeer.values()].map(({ settings }) => settings.now.mutedUntil?.getTime() ?? 0);
    const later = ends.filter((ms) => ms > now);
    return later.length ? Math.min(...later) : undefined;
  }

  private usedAt(chat: Conversation): number {
    const lines = [chat.outgoing.at(-1)?.at, this.lastOf(chat)?.at];
    return Math.max(...lines.map((at) => at?.getTime() ?? 0));
  }
}

/** Whether what comes in a chat is announced. */
export function isHeard(chat: Conversation): boolean {
  return !chat.settings.isMuted() && !chat.isRequest;
}

export function unreadIn(chats: readonly Conversation[]): number {
  return chats.reduce((sum, chat) => sum + chat.unread, 0);
}

function place({ settings }: Conversation): number {
  const { archived, pinned } = settings.now;
  return (archived ? 2 : 0) + (pinned ? 0 : 1);
}
