/** Makes a client: finds out who the user is, opens the storage, and begins to connect. */

import { checkToken } from "./arguments.js";
import { waitMs } from "./backoff.js";
import { Client } from "./client.js";
import { Core, type CoreOptions } from "./core.js";
import { ChatError, chatError, invalid } from "./errors.js";
import type { Occurrence } from "./events.js";
import { indexedDb } from "./indexeddb.js";
import { type Fetch, Lookup, type Token, userIn } from "./lookup.js";
import type { SocketClass } from "./session.js";
import { type Storage, memory } from "./storage.js";
import { Surroundings } from "./surroundings.js";
import { Tabs } from "./tabs.js";

export interface Options {
  /** Of the connect server, such as `https://chat.example.com`. */
  url: string;
  /**
   * A token, or a function that returns one. It is called for every connection. If it throws a
   * `ChatError` that is not retriable, or returns no token, the client ends; after any other error,
   * it is called again.
   */
  token: Token;
  /** Whose tokens these are. With it, `connect` does not wait for a token. */
  userId?: string;
  /** A label that people see, of at most 64 bytes. */
  device?: string;
  /** Where the device is kept. */
  storage?: Storage | undefined;
  /** Whether senders are told that a message was delivered. */
  receipts?: boolean;
  /** Whether to hide from everybody that this user is online. */
  invisible?: boolean;
  WebSocket?: unknown;
  fetch?: Fetch;
}

/**
 * Return a client that begins to connect, once it is known who the user is and what is stored. What
 * comes of it is in `client.status`. Add listeners at once: an event without one counts as taken.
 */
export async function connect(options: Options): Promise<Client> {
  const checked = check(options);
  const storage = storageOf(options);
  const userId = options.userId || (await userOf(checked));
  const client = new Client(userId);
  const emit = (occurrence: Occurrence): Promise<void> => client._emit(occurrence);
  const makeCore = async (emit: Emit): Promise<Core> => {
    const kept = await storable(() => storage.open(checked.url, userId));
    try {
      return new Core(userId, checked, kept, new Surroundings(), emit);
    } catch (error) {
      await kept.close();
      throw error;
    }
  };
  const shared = canShare() && storage.sharedName?.(checked.url, userId);
  if (shared) await storable(() => storage.check?.(checked.url, userId));
  const backend = shared ? new Tabs(shared, makeCore, emit) : await makeCore(emit);
  client._open(backend, checked.url, checked.fetch);
  setTimeout(() => backend.start()); // whoever awaits this has time to add listeners
  return client;
}

type Emit = (occurrence: Occurrence) => Promise<void>;

async function storable<T>(open: () => T | Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    throw chatError(error, "storage_failed");
  }
}

/** Whether tabs can share a storage and a connection here: in a page that came over HTTPS. */
function canShare(): boolean {
  const { document, indexedDB, navigator, BroadcastChannel } = globalThis;
  return Boolean(document && indexedDB && navigator?.locks && BroadcastChannel);
}

/** Return the storage. Tabs that share one without a connection would end each other. */
function storageOf({ storage }: Options): Storage {
  if (storage?.sharedName && globalThis.document && !canShare()) {
    throw invalid(
      "tabs can share a storage only in a page from HTTPS or localhost: serve it so, or use memory()",
    );
  }
  return storage ?? (canShare() ? indexedDb() : memory());
}

function check(options: Options): CoreOptions {
  const { token, device = "web", receipts = true, invisible = false } = options;
  const WebSocket = options.WebSocket ?? globalThis.WebSocket;
  const fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  if (!WebSocket) throw invalid("there is no WebSocket here: pass one as the option WebSocket");
  checkToken(token);
  if (new TextEncoder().encode(device).length > 64) throw invalid("device has over 64 bytes");
  const url = baseUrl(options.url);
  return { url, token, device, receipts, invisible, fetch, WebSocket: WebSocket as SocketClass };
}

function baseUrl(url: string): string {
  try {
    const { protocol, href } = new URL(url);
    if (/^https?:$/.test(protocol)) return href.replace(/\/+$/, "");
  } catch {
    // said below
  }
  throw invalid(
    `${url} is not the URL of a connect server: use one such as https://chat.example.com`,
  );
}

/** Return the user that the token names. If it cannot be read, the connect server is asked. */
async function userOf({ url, token, fetch }: CoreOptions): Promise<string> {
  const lookup = new Lookup(url, token, fetch);
  for (let attempt = 0; ; attempt++) {
    try {
      const userId = userIn(await lookup.token());
      return userId ?? (await lookup.find())[0].user_id;
    } catch (thrown) {
      const error = chatError(thrown, "internal");
      if (!(error instanceof ChatError) || !error.retriable) throw error;
      const wait = waitMs(attempt, Math.random(), { atLeastMs: error.retryAfterMs });
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
