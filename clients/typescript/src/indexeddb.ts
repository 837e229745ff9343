/** Keeps devices in the browser's IndexedDB: one database for each user of each CecoChat. */

import { ChatError, unusable } from "./errors.js";
import type { Message } from "./events.js";
import { newId } from "./newid.js";
import type { Snapshot } from "./snapshot.js";
import { type Kept, RECENT_MAX, type Storage } from "./storage.js";

const DEVICE = "device";
const OWNER = "owner"; // who has opened the database last: only they may write
const MESSAGES = "messages";
const VERSION = 1;
const SPARE = 50; // how many messages of a chat more than RECENT_MAX there may be

/** The name of the database that keeps a user's device and messages. Delete it at a log-out. */
export function databaseName(url: string, userId: string): string {
  return `cecochat ${url} ${userId}`;
}

/**
 * Keep the device, and the newest messages of each chat, in IndexedDB. Tabs share it, and with it one
 * connection. What is saved outlives the page and the browser, though perhaps not a power cut. Give
 * another `name` to keep apart what has the same address and user.
 */
export function indexedDb(name = databaseName): Storage {
  return {
    sharedName: name,
    open: (url, userId) => usable(openKept(name(url, userId))),
    check: (url, userId) => usable(check(name(url, userId))),
  };
}

async function usable<T>(opening: Promise<T>): Promise<T> {
  try {
    return await opening;
  } catch (error) {
    if (error instanceof DOMException && error.name === "VersionError") throw upgraded();
    throw unusable("IndexedDB", error, "let the browser store data here, or pass memory()");
  }
}

async function check(name: string): Promise<void> {
  const database = await opened(name);
  try {
    await done(database.transaction([DEVICE, MESSAGES]).objectStore(DEVICE).get(DEVICE));
  } finally {
    database.close();
  }
}

async function openKept(name: string): Promise<Kept> {
  const database = await opened(name);
  const store = database.transaction(DEVICE, "readwrite").objectStore(DEVICE);
  const owner = newId();
  store.put(owner, OWNER);
  return new DatabaseKept(database, owner, await done<Snapshot | undefined>(store.get(DEVICE)));
}

/** Open a database, which is let go if others want to delete or upgrade it. */
async function opened(name: string): Promise<IDBDatabase> {
  const opening = indexedDB.open(name, VERSION);
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore(DEVICE);
    opening.result.createObjectStore(MESSAGES);
  };
  const database = await done(opening);
  database.onversionchange = () => database.close();
  return database;
}

class DatabaseKept implements Kept {
  lost: (error: ChatError) => void = () => this.close();

  constructor(
    private readonly database: IDBDatabase,
    private readonly owner: string,
    readonly device: Snapshot | undefined,
  ) {
    database.onversionchange = ({ newVersion }) =>
      this.lost(newVersion === null ? deleted() : upgraded());
  }

  /**
   * A browser gives up the transaction of a tab that it has frozen, once another tab waits for it. So
   * this tries again, and finds out whose the storage is by now.
   */
  async save(device: Snapshot, messages: Message[]): Promise<void> {
    try {
      await this.put(device, messages);
    } catch (error) {
      if (error instanceof ChatError) throw error;
      await this.put(device, messages);
    }
  }

  private put(device: Snapshot, messages: Message[]): Promise<void> {
    const transaction = this.database.transaction([DEVICE, MESSAGES], "readwrite");
    const devices = transaction.objectStore(DEVICE);
    const owner = devices.get(OWNER);
    owner.onsuccess = () => {
      if (owner.result !== this.owner) return transaction.abort();
      devices.put(device, DEVICE);
      const store = transaction.objectStore(MESSAGES);
      for (const message of messages) store.put(message, keyOf(message));
      for (const chatId of new Set(messages.map((message) => message.chatId))) prune(store, chatId);
    };
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? taken());
    });
  }

  async recent(chatId: string): Promise<Message[]> {
    const store = this.database.transaction(MESSAGES).objectStore(MESSAGES);
    const messages: Message[] = await done(store.getAll(rangeOf(chatId)));
    return messages.slice(-RECENT_MAX);
  }

  close(): void {
    this.database.close();
  }
}

function taken(): ChatError {
  return new ChatError("storage_taken", "another client has opened this storage since");
}

function upgraded(): ChatError {
  const message = "a later version of the client has taken over the storage: reload the page";
  return new ChatError("storage_upgraded", message);
}

function deleted(): ChatError {
  const message = "the storage was deleted, as at a log-out: connect again to begin anew";
  return new ChatError("storage_deleted", message);
}

/** Messages of a chat lie in the order of their ids, which have at most 19 digits. */
function keyOf({ chatId, id }: Message): [string, string] {
  return [chatId, `${id}`.padStart(19, "0")];
}

function rangeOf(chatId: string): IDBKeyRange {
  return IDBKeyRange.bound([chatId, ""], [chatId, ":"]); // a colon follows the digits
}

/** Delete the oldest messages of a chat if there are too many. */
function prune(store: IDBObjectStore, chatId: string): void {
  const counting = store.count(rangeOf(chatId));
  counting.onsuccess = () => {
    let tooMany = counting.result - RECENT_MAX;
    if (tooMany < SPARE) return;
    const cursor = store.openKeyCursor(rangeOf(chatId));
    cursor.onsuccess = () => {
      if (!cursor.result || tooMany-- <= 0) return;
      store.delete(cursor.result.primaryKey);
      cursor.result.continue();
    };
  };
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
