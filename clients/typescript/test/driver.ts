/**
 * Clients as a process, for tests in other languages: JSON lines in and out.
 *
 *     node driver.js
 *
 * A line is a call, `{"client": NAME, "call": METHOD, "id": N, "args": [...]}`, answered with `{"client":
 * NAME, "answer": N, "value": ...}` or `{..., "error": ...}`. The first call to a client is `open`, with
 * `{"url", "token", "file", "device", "chats"}`; `token` replaces its token. Each event is told as
 * `{"client": NAME, "event": NAME, "value": ...}`, and so are, as events of this driver, `stored`: the
 * messages of `chats` that were stored before, and `queued`: the id of a send that is stored by now.
 *
 * `upload` and `read` are about files, whose content is text here.
 *
 * Ids are decimal strings. What ends in `n`, such as "12n", is a bigint. If a client cannot be
 * opened, the process ends with an error.
 */

import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { type Client, ChatError, type EventName, type Storage, connect } from "../src/index.js";
import { file } from "../src/node.js";

const NAMES: EventName[] = [
  "message",
  "change",
  "membership",
  "settingschanged",
  "receipt",
  "sent",
  "rejected",
  "caughtup",
  "hole",
  "typing",
  "presence",
  "signalrefused",
  "status",
];

interface Options {
  url: string;
  token: string;
  file?: string;
  device?: string;
  chats?: string[];
}

type Tell = (event: string, value: unknown) => void;

/** Said is said, whatever kills this process next: `process.stdout` keeps what a slow reader leaves. */
function say(line: object): void {
  const text = JSON.stringify(line, (_, value) =>
    typeof value === "bigint" ? `${value}` : value instanceof ChatError ? { ...value } : value,
  );
  writeSync(1, `${text}\n`);
}

const clients = new Map<string | undefined, Promise<Client>>();
const tokens = new Map<string | undefined, string>();

function open(name: string | undefined, options: Options): void {
  const opening = opened(name, options);
  clients.set(name, opening);
  opening.catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

async function opened(name: string | undefined, options: Options): Promise<Client> {
  const { url, device, file: path, chats = [] } = options;
  const tell: Tell = (event, value) => say({ client: name, event, value });
  tokens.set(name, options.token);
  const client = await connect({
    url,
    token: () => tokens.get(name)!,
    ...(!("WebSocket" in globalThis) && { WebSocket }),
    ...(device && { device }),
    ...(path && { storage: telling(file(path), tell) }),
  });
  for (const event of NAMES) client.on(event, (value) => tell(event, value));
  tell("stored", (await Promise.all(chats.map((chat) => client.recent(chat)))).flat());
  return client;
}

/** Tell of each send once it is stored. */
function telling(storage: Storage, tell: Tell): Storage {
  return {
    async open(url, userId) {
      const kept = await storage.open(url, userId);
      const [save, told] = [kept.save.bind(kept), new Set<string>()];
      kept.save = async (device, messages) => {
        await save(device, messages);
        for (const { clientMessageId: id } of device.outbox) {
          if (!told.has(id)) tell("queued", id);
          told.add(id);
        }
      };
      return kept;
    },
  };
}

interface Call {
  client?: string;
  call:
    | "open"
    | "token"
    | "send"
    | "setChat"
    | "chats"
    | "history"
    | "search"
    | "report"
    | "reportUser"
    | "block"
    | "unblock"
    | "blocked"
    | "recent"
    | "queued"
    | "markRead"
    | "watch"
    | "typing"
    | "hide"
    | "close"
    | "upload"
    | "read"
    | `groups.${string}`;
  id?: number;
  args: never[];
}

async function answer({ client: name, call, id, args }: Call): Promise<void> {
  try {
    const client = await clients.get(name)!;
    if (call === "upload" || call === "read") {
      return say({ client: name, answer: id, value: await withFiles(client, call, args) });
    }
    const [of, called] = call.startsWith("groups.")
      ? [client.groups, call.slice(7)]
      : [client, call];
    const method = of[called as never] as (...args: never[]) => unknown;
    const result = method.apply(of, args);
    const value = isIterable(result) ? await all(result) : await result;
    say({ client: name, answer: id, value: value ?? null });
  } catch (error) {
    const { code, message } = error as ChatError;
    const kind = (error as Error).name;
    say({ client: name, answer: id, error: { code: code ?? "", message, kind } });
  }
}

/** Files are texts here: `upload` takes the chat, the text and options, `read` a message and its file. */
async function withFiles(client: Client, call: "upload" | "read", args: never[]): Promise<unknown> {
  const [first, second, third] = args;
  if (call === "read") return (await client.files.read(first!, second!)).text();
  return client.files.upload(first!, new Blob([second!], { type: "text/plain" }), third!);
}

function isIterable(result: unknown): result is AsyncIterable<unknown> {
  return typeof result === "object" && result !== null && Symbol.asyncIterator in result;
}

async function all(messages: AsyncIterable<unknown>): Promise<unknown[]> {
  const found = [];
  for await (const message of messages) found.push(message);
  return found;
}

function parsed(line: string): Call {
  return JSON.parse(line, (_, value) =>
    typeof value === "string" && /^\d+n$/.test(value) ? BigInt(value.slice(0, -1)) : value,
  );
}

for await (const line of createInterface({ input: process.stdin })) {
  const call = parsed(line);
  const { client: name, args } = call;
  if (call.call === "open") open(name, args[0]!);
  else if (call.call === "token") tokens.set(name, args[0]!);
  else void answer(call);
}
await Promise.all([...clients.values()].map(async (client) => (await client).close()));
