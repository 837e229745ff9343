/**
 * Pairs of clients, of which one sends to the other as fast as it is answered. Prints "ready", waits
 * for a line, and prints the CPU seconds that all of them have taken from there on:
 *
 *     node pace.js '{"url": ..., "pairs": [{"tokens": [SENDER, LISTENER], "to": USER}],
 *                    "window": 16, "messages": 2000, "text": ...}'
 */

import { once } from "node:events";
import WebSocket from "ws";
import { type Client, connect, memory } from "../src/index.js";

interface Pair {
  tokens: [string, string];
  to: string;
}

const { url, pairs, window, messages, text } = JSON.parse(process.argv[2]!);

async function opened(token: string): Promise<Client> {
  const web = "WebSocket" in globalThis ? {} : { WebSocket };
  const client = await connect({ url, token, storage: memory(), ...web });
  await new Promise((resolve) => client.on("caughtup", resolve));
  return client;
}

async function sendAll(sender: Client, to: string): Promise<void> {
  let left = messages;
  const one = async () => {
    while (left-- > 0) await sender.send(to, text);
  };
  await Promise.all(Array.from({ length: window }, one));
}

function listenToAll(listener: Client): Promise<void> {
  let left = messages;
  return new Promise((resolve) => listener.on("message", () => void (--left || resolve())));
}

const clients = await Promise.all(
  (pairs as Pair[]).map(async ({ tokens, to }) => ({
    to,
    sender: await opened(tokens[0]),
    listener: await opened(tokens[1]),
  })),
);
process.stdout.write("ready\n");
await once(process.stdin, "data");
const before = process.cpuUsage();
await Promise.all(
  clients.flatMap(({ to, sender, listener }) => [listenToAll(listener), sendAll(sender, to)]),
);
const { user, system } = process.cpuUsage(before);
process.stdout.write(`${(user + system) / 1e6}\n`);
process.exit();
