/**
 * What the page needs of a client: `client.ts` makes it of `@cecochat/client`.
 */
import type { Group, Member, Role } from "./model/group";
import type { Hole, Marks, Message, Presence } from "./model/message";
import type { Settings } from "./model/settings";

export type Status =
  | { readonly state: "connecting" | "connected" }
  | { readonly state: "closed"; readonly why: string }
  | { readonly state: "waiting"; readonly until: Date };

export interface ChatSummary {
  readonly peer: string;
  readonly group: Group | undefined;
  readonly settings: Settings;
  readonly unread: number;
  /** How many of them mention this user. */
  readonly mentions: number;
  /** How far this user has read. */
  readonly readUpTo: bigint;
  readonly last: Message;
  readonly marks: Marks | undefined;
  readonly holes: readonly Hole[];
  /** Only the other user wrote here, and this one has not accepted that. */
  readonly isRequest: boolean;
  /** The last change of a message that is in this. */
  readonly changeId: bigint;
}

export interface Waiting {
  readonly key: string;
  readonly text: string;
}

export interface Page {
  readonly messages: readonly Message[];
  readonly more: boolean;
}

export interface Found {
  readonly peer: string;
  readonly message: Message;
}

/** What happens, as the page is told. */
export interface Listener {
  message(peer: string, message: Message): void;
  receipt(peer: string, marks: Marks): void;
  /** A message was edited or deleted (`changeId`), or somebody reacted to it. It is like this now, if it was here. */
  changed(peer: string, message: Message | undefined, changeId: bigint | undefined): void;
  /** A change that this user wanted to make is refused. */
  unchanged(why: string, key: string, peer: string | undefined): void;
  /** This user has set how to have a chat. The key is there if this page has, and it is accepted now. */
  chatSet(peer: string, id: bigint, settings: Settings, key?: string): void;
  /** This user has read a chat, here or elsewhere. */
  read(peer: string, upTo: bigint): void;
  /** A send was accepted: it is a message now. */
  sent(key: string, peer: string, message: Message): void;
  rejected(key: string, peer: string, text: string, why: string): void;
  /** A group has changed: it has to be asked for anew. */
  groupChanged(peer: string): void;
  typing(peer: string, user: string, active: boolean): void;
  presence(peer: string, presence: Presence): void;
  hole(peer: string | undefined, hole: Hole): void;
  caughtUp(): void;
  status(status: Status): void;
}

/** What this user can change in groups. Each fails if the user's role does not allow it. */
export interface Groups {
  members(peer: string): Promise<readonly Member[]>;
  /** Make a group with these members, and return its id. */
  create(name: string, members: readonly string[]): Promise<string>;
  add(peer: string, users: readonly string[]): Promise<unknown>;
  invite(peer: string, users: readonly string[]): Promise<unknown>;
  remove(peer: string, users: readonly string[]): Promise<unknown>;
  rename(peer: string, name: string): Promise<unknown>;
  appoint(peer: string, user: string, role: Role): Promise<unknown>;
}

/** What this user can do about others. Each fails if the server refuses it or does not answer. */
export interface Safety {
  /** Tell the moderators of a message of a chat, or of a user if there is no message. */
  report(peer: string, message: bigint | undefined, reason: string, text: string): Promise<unknown>;
  block(user: string): Promise<unknown>;
  unblock(user: string): Promise<unknown>;
  /** Return whom this user blocks. */
  blocked(): Promise<readonly string[]>;
}

export interface Client {
  readonly me: string;
  readonly safety: Safety;
  /** Queue a text, and files once they are uploaded. Return the key under which it is told as sent or rejected. */
  send(peer: string, text: string, replyTo?: bigint, files?: readonly File[]): string;
  /** Return a URL that gives a file of a message for some minutes, as a download. */
  link(message: bigint, file: string): Promise<string>;
  edit(peer: string, id: bigint, text: string): void;
  remove(peer: string, id: bigint, asAdmin: boolean): void;
  react(peer: string, id: bigint, emoji: string, removed: boolean): void;
  /** What this browser has of a chat: this needs no server. */
  stored(peer: string): Promise<readonly Message[]>;
  /** What is queued and has no answer yet, also from before a reload. */
  waiting(peer: string): Promise<readonly Waiting[]>;
  chats(): Promise<readonly ChatSummary[]>;
  /** Read the newest messages below an id, oldest first. */
  page(peer: string, before: bigint | undefined, limit: number): Promise<Page>;
  /** Return the newest messages that have all words of a text, each with its chat. */
  search(text: string, limit: number): Promise<readonly Found[]>;
  /** Return a group; undefined if there is none for this user. */
  group(peer: string): Promise<Group | undefined>;
  readonly groups: Groups;
  /** Set how to have a chat. Return the key under which it is told as set or refused. */
  set(peer: string, settings: Settings): string;
  markRead(peer: string, id: bigint): void;
  /** Be told of the typing and the presence of these users, at most 64, and of no others. */
  watch(peers: readonly string[]): void;
  typing(peer: string, active: boolean): void;
  close(): void;
}

export type Connect = (me: string, listener: Listener) => Promise<Client>;
