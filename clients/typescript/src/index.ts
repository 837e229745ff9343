/**
 * The TypeScript client of CecoChat.
 *
 *     const client = await connect({ url: "https://chat.example.com", token });
 *     client.on("message", (message) => console.log(message.userId, message.text));
 *     const id = await client.send("bob", "hello"); // resolves once it can no longer be lost
 */

export type { PageRequest, SearchRequest, SendOptions } from "./backend.js";
export type { Attachment, Files } from "./attachments.js";
export { Client } from "./client.js";
export { type Options, connect } from "./connect.js";
export type { Queued } from "./sending.js";
export { ChatError, SendRejected } from "./errors.js";
export type {
  Change,
  Chat,
  Entry,
  EventName,
  Events,
  Hole,
  Mention,
  Message,
  Presence,
  Receipt,
  Rejected,
  Status,
  Typing,
} from "./events.js";
export type { Group, GroupChange, GroupOptions, Member, Role } from "./group.js";
export type { Groups } from "./groups.js";
export { databaseName, indexedDb } from "./indexeddb.js";
export type { Token } from "./lookup.js";
export type { Blocked } from "./reporting.js";
export { type ChatSettings, FOR_GOOD, type SettingsChanged } from "./settings.js";
export type { Snapshot } from "./snapshot.js";
export { Timeline } from "./timeline.js";
export { type Kept, type Storage, memory } from "./storage.js";
