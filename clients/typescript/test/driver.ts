/**
 * A client as a process, for tests in other languages: JSON lines in and out.
 *
 *     node driver.js '{"url": ..., "token": ..., "file": ...}'
 *
 * It prints `{"event": NAME, "value": ...}` for each event, and takes `{"call": METHOD, "id": N,
 * "args": [...]}`, which it answers with `{"answer": N, "value": ...}` or `{"answer": N, "error": ...}`.
 * Ids are decimal strings. What ends in `n`, such as "12n", is a bigint. The line "token TOKEN"
 * replaces the token.
 */

import { createInterface } from "node:readline";
import WebSocket from "ws";
import { ChatError, type EventName, connect } from "../src/index.js";
import { file } from "../src/node.js";

const NAMES: EventName[] = ["message", "receipt", "sent", "rejected", "caughtup", "hole", "status"];

const { url, token: first, file: path, device } = JSON.parse(process.argv[2]!);
let token: string = first;

function say(line: object): void {
  const text = JSON.stringify(line, (_, value) =>
    typeof value === "bigint" ? `${value}` : value instanceof ChatError ? { ...value } : value,
  );
  process.stdout.write(`${text}\n`);
}

const client = await connect({
  url,
  token: () => token,
  ...(!("WebSocket" in globalThis) && { WebSocket }),
  ...(device && { device }),
  ...(path && { storage: file(path) }),
});
for (const name of NAMES) client.on(name, (value) => say({ event: name, value }));

interface Call {
  call: "send" | "chats" | "history" | "recent" | "queued" | "markRead" | "close";
  id: number;
  args: never[];
}

async function answer({ call, id, args }: Call): Promise<void> {
  try {
    const method = client[call] as (...args: never[]) => unknown;
    const result = method.apply(client, args);
    const value = call === "history" ? await all(result as AsyncIterable<unknown>) : await result;
    say({ answer: id, value: value ?? null });
  } catch (error) {
    const { code, message } = error as ChatError;
    say({ answer: id, error: { code: code ?? "", message, kind: (error as Error).name } });
  }
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
  if (line.startsWith("token ")) token = line.slice(6);
  else void answer(parsed(line));
}
await client.close();
