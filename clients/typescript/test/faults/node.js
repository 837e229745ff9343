// Runs applications in a Node process: node node.js FOLDER. A command is a line of JSON on stdin, and so is what it says.

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { join } from "node:path";

import { connect } from "@cecochat/client";
import WebSocket from "ws";

import { applications } from "./apps.js";

const RECENT = 20; // of a chat: a file is written as a whole
const folder = process.argv[2];
// Said is said, whatever kills this process next: process.stdout would keep what a slow reader does not take.
const say = (what) => writeSync(1, `${JSON.stringify(what)}\n`);

mkdirSync(folder, { recursive: true });
const take = applications({ connect, storage, say, WebSocket, fetch });
createInterface({ input: process.stdin }).on("line", (text) => take(JSON.parse(text)));

/** Keep a device in a file, which is replaced as a whole. `queued` takes the key of each send that it holds. */
function storage(app, queued) {
  const file = join(folder, `${app}.json`);
  const kept = existsSync(file)
    ? JSON.parse(readFileSync(file), revived)
    : { device: undefined, chats: {} };
  const told = new Set();
  return {
    async open() {
      return {
        device: kept.device,
        async save(device, messages) {
          kept.device = device;
          for (const message of messages) {
            const chat = [...(kept.chats[message.chatId] ?? []), message];
            kept.chats[message.chatId] = chat.sort((a, b) => (a.id < b.id ? -1 : 1)).slice(-RECENT);
          }
          writeFileSync(`${file}.new`, JSON.stringify(kept, replaced));
          renameSync(`${file}.new`, file);
          for (const { clientMessageId: key } of device.outbox) {
            if (!told.has(key)) told.add(key) && queued(key);
          }
        },
        recent: async (chat) => kept.chats[chat] ?? [],
        close() {},
      };
    },
  };
}

const replaced = (_, value) => (typeof value === "bigint" ? { bigint: String(value) } : value);
const revived = (_, value) => (value?.bigint ? BigInt(value.bigint) : value);
