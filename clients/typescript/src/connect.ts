/** Makes a client: finds out who the user is, opens the storage, and begins to connect. */

import { Client } from "./client.js";
import { Core, type CoreOptions } from "./core.js";
import { ChatError, chatError, invalid } from "./errors.js";
import { type Fetch, Lookup, type Token, userIn } from "./lookup.js";
import type { SocketClass } from "./session.js";
import { type Storage, memory } from "./storage.js";
import { Surroundings } from "./surroundings.js";
import { waitMs } from "./backoff.js";

export interface Options {
  /** Of the connect server, such as `https://chat.example.com`. */
  url: string;
  /** A token, or a function that returns one. It is called for every connection. */
  token: Token;
  /** A label that people see, of at most 64 bytes. */
  device?: string;
  /** Where the device is kept. */
  storage?: Storage | undefined;
  /** Whether senders are told that a message was delivered. */
  receipts?: boolean;
  WebSocket?: unknown;
  fetch?: Fetch;
}

/**
 * Return a client that begins to connect, once it is known who the user is and what is stored. What
 * comes of it is in `client.status`. Add listeners at once: an event without one counts as taken.
 */
export async function connect(options: Options): Promise<Client> {
  const checked = check(options);
  const userId = await userOf(checked);
  const storage = options.storage ?? memory();
  const client = new Client(userId);
  const kept = await storage.open(checked.url, userId).catch((error: unknown) => {
    throw chatError(error, "storage_failed");
  });
  const core = new Core(userId, checked, kept, new Surroundings(), (each) => client._emit(each));
  client._open(core);
  setTimeout(() => core.start()); // whoever awaits this has time to add listeners
  return client;
}

function check(options: Options): CoreOptions {
  const { token, device = "web", receipts = true } = options;
  const WebSocket = options.WebSocket ?? globalThis.WebSocket;
  const fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  if (!WebSocket) throw invalid("there is no WebSocket here: pass one as the option WebSocket");
  if (!token) throw invalid("the token is empty: use the one that the user was given");
  if (new TextEncoder().encode(device).length > 64) throw invalid("device has over 64 bytes");
  const url = baseUrl(options.url);
  return { url, token, device, receipts, fetch, WebSocket: WebSocket as SocketClass };
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
