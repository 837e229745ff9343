/** Where a device is kept, so that a reload or a restart goes on exactly where it was. */

import type { ChatError } from "./errors.js";
import type { Message } from "./events.js";
import type { Snapshot } from "./snapshot.js";

/** What is kept of one user at one CecoChat. */
export interface Kept {
  /** The last snapshot, if there is one. */
  readonly device: Snapshot | undefined;
  /**
   * Replace the snapshot, and add messages, in one piece. Both are there after a crash of the
   * program when this has resolved. The client never calls it again before that.
   */
  save(device: Snapshot, messages: Message[]): Promise<void>;
  /** Return the newest messages of a chat that were saved, oldest first. */
  recent(chatId: string): Promise<Message[]>;
  /**
   * Let others use the storage. Calling it again does nothing. If a listener is still busy with an
   * event, `save` is called once more when it has taken that; it may reject, and the event comes again.
   */
  close(): void | Promise<void>;
  /**
   * Set by the client. Call it if the storage has to be let go: the client saves, closes it and ends
   * with this error.
   */
  lost?(error: ChatError): void;
}

/** A place to keep devices. */
export interface Storage {
  /** Open what is kept of a user of the CecoChat at `url`. */
  open(url: string, userId: string): Promise<Kept>;
  /**
   * Reject if it could not be opened, and take nothing over. `connect` asks where tabs share the
   * storage: only one of them opens it, perhaps much later.
   */
  check?(url: string, userId: string): Promise<void>;
  /**
   * If all tabs of an origin see the same: a name for what is kept of a user, which differs from
   * that of anything else that is kept. Tabs share one connection for each name.
   */
  sharedName?(url: string, userId: string): string;
}

/** How many messages of a chat are kept. */
export const RECENT_MAX = 200;

/** Keep a device in memory: it lasts as long as the page or the process. */
export function memory(): Storage {
  const users = new Map<string, MemoryKept>();
  return {
    async open(url, userId) {
      const key = `${url} ${userId}`;
      const kept = users.get(key) ?? new MemoryKept();
      users.set(key, kept);
      return kept;
    },
  };
}

/** What is kept in memory. */
export class MemoryKept implements Kept {
  device: Snapshot | undefined;
  protected readonly chats = new Map<string, Message[]>();

  async save(device: Snapshot, messages: Message[]): Promise<void> {
    this.device = device;
    this.add(messages);
  }

  protected add(messages: Message[]): void {
    for (const message of messages) {
      const others = this.chats.get(message.chatId) ?? [];
      this.chats.set(message.chatId, newest([...others, message]));
    }
  }

  async recent(chatId: string): Promise<Message[]> {
    return this.chats.get(chatId) ?? [];
  }

  close(): void {}
}

/** Return the newest messages, each once, oldest first. */
export function newest(messages: Message[], max = RECENT_MAX): Message[] {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const sorted = [...byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  return sorted.slice(-max);
}
