import { type Group, may } from "./group";
import { isGroup } from "./names";
import type { Hole, Marks, Message, Outgoing, Presence, Tick } from "./message";
import { ChatSettings } from "./settings";

/** What the server counts of a chat. */
export interface Counts {
  readonly unread: number;
  /** How many of them mention this user. */
  readonly mentions: number;
  /** The last edit or deletion that it knew of. */
  readonly changeId: bigint;
}

/** One chat, with a user or of a group, as this page knows it. Pure: what happens is told to it, and a view reads it. */
export class Conversation {
  /** Sorted by id. From the oldest of them on, none is missing but in `holes`. */
  messages: Message[] = [];
  outgoing: Outgoing[] = [];
  holes: Hole[] = [];
  /** The first message that was unread when the chat was opened. */
  newFrom: bigint | undefined;
  /** Whether a page of the history was read, and whether there is nothing before the oldest. */
  loaded = false;
  complete = false;
  /** Older messages that those here answer; undefined while they are asked for. */
  readonly quoted = new Map<bigint, Message | undefined>();
  /** Who types. */
  readonly typists = new Set<string>();
  /** Of a group: what it is; undefined: not known. */
  group: Group | undefined;
  /** Of a dialog: whether the other user is here. */
  presence: Presence | undefined;
  /** How this user wants to have it. */
  readonly settings = new ChatSettings();
  /** Of a dialog: whether the server has only messages of the other user, and they were not accepted. */
  asks = false;
  private marks: Marks = { deliveredUpTo: 0n, readUpTo: 0n };
  private readUpTo = 0n;
  /** What the server has counted up to a message. */
  private told = { unread: 0, mentions: 0, changeId: 0n, upTo: 0n };

  constructor(
    readonly me: string,
    /** The other user, or the id of a group. */
    readonly peer: string,
  ) {}

  get isGroup(): boolean {
    return isGroup(this.peer);
  }

  get name(): string {
    return this.group?.name ?? this.peer;
  }

  /** Whether this user can write here, as far as it is known. */
  get canWrite(): boolean {
    return !this.isGroup || !this.group || may(this.group, "write");
  }

  /** Whether somebody writes here to whom this user has never written, and whom they have not accepted. */
  get isRequest(): boolean {
    if (!this.asks || this.settings.now.accepted || this.outgoing.length) return false;
    return !this.messages.some(({ from }) => from === this.me);
  }

  private isTheirs({ from, note }: Message): boolean {
    return from !== this.me && note === undefined;
  }

  /** Add a message in its place by id, or what has become of it. Return whether it was not there yet. */
  add(message: Message): boolean {
    const at = this.placeOf(message.id);
    const known = this.messages[at];
    if (known?.id === message.id) {
      this.messages[at] = message;
      this.recount(known, message);
      return false;
    }
    this.messages.splice(at, 0, message);
    if (message.from === this.me && message.note === undefined) this.settle(message.key);
    return true;
  }

  addHole(hole: Hole): void {
    const known = this.holes.some((each) => each.firstId === hole.firstId && each.lastId === hole.lastId);
    if (!known) this.holes.push(hole);
  }

  mark(marks: Marks): void {
    this.marks = {
      deliveredUpTo: max(this.marks.deliveredUpTo, marks.deliveredUpTo),
      readUpTo: max(this.marks.readUpTo, marks.readUpTo),
    };
  }

  /** Note what the server has counted, when that message was the last. */
  tell(last: Message, { unread, mentions, changeId }: Counts): void {
    if (last.id >= this.told.upTo) this.told = { unread, mentions, changeId, upTo: last.id };
  }

  /** Correct what the server has counted, unless it knew what has become of a message. */
  private recount(before: Message, now: Message): void {
    const { upTo, changeId } = this.told;
    if (!this.isTheirs(now) || now.id <= this.readUpTo || now.id > upTo || (now.changeId ?? 0n) <= changeId) return;
    const more = (counts: Counting) => Number(counts(now)) - Number(counts(before));
    this.told.unread = Math.max(this.told.unread + more(isThere), 0);
    this.told.mentions = Math.max(this.told.mentions + more(isMention), 0);
  }

  /** Note that this user has read up to a message, here or elsewhere. Return whether that is news. */
  read(upTo: bigint): boolean {
    const isNews = upTo > this.readUpTo;
    this.readUpTo = max(this.readUpTo, upTo);
    return isNews;
  }

  /** How many messages of the other user this one has not read. */
  get unread(): number {
    return this.countUnread(isThere, this.told.unread);
  }

  /** How many of them mention this user. */
  get mentions(): number {
    return this.countUnread(isMention, this.told.mentions);
  }

  private countUnread(counts: Counting, told: number): number {
    const { upTo } = this.told;
    const here = this.countAbove(this.readUpTo, counts);
    if (upTo <= this.readUpTo) return here;
    const all = told + this.countAbove(upTo, counts);
    return this.hasAll(this.readUpTo, upTo) ? Math.min(all, here) : all;
  }

  /** Whether everything from one message to another is here. */
  private hasAll(from: bigint, to: bigint): boolean {
    const { oldest, newest } = this;
    return this.loaded && oldest !== undefined && oldest <= from && newest!.id >= to;
  }

  private countAbove(id: bigint, counts: Counting): number {
    return this.messages.filter((each) => this.isTheirs(each) && each.id > id && counts(each)).length;
  }

  /** Show what waits for its answer, unless it has become a message meanwhile. */
  say(outgoing: Outgoing): void {
    const isMessage = ({ from, key }: Message) => from === this.me && key === outgoing.key;
    if (!this.messages.some(isMessage)) this.outgoing = [...this.outgoing, outgoing];
  }

  /** Forget what was written here, since it is a message now, or is not wanted any more. */
  settle(key: string): void {
    this.outgoing = this.outgoing.filter((each) => each.key !== key);
  }

  refuse(key: string, why: string): void {
    this.outgoing = this.outgoing.map((each) => (each.key === key ? { ...each, why } : each));
  }

  tick(message: Message): Tick | undefined {
    if (message.from !== this.me) return undefined;
    if (this.isGroup) return "sent"; // each member has a mark of their own
    if (message.id <= this.marks.readUpTo) return "read";
    return message.id <= this.marks.deliveredUpTo ? "delivered" : "sent";
  }

  /** Note that a person begins to look at the chat: what is unread is new. */
  open(): void {
    const theirs = this.messages.filter((each) => this.isTheirs(each));
    this.newFrom = this.unread > 0 ? theirs.at(-Math.min(this.unread, theirs.length))?.id : undefined;
  }

  get oldest(): bigint | undefined {
    return this.messages[0]?.id;
  }

  get newest(): Message | undefined {
    return this.messages.at(-1);
  }

  /** The newest message of somebody else. */
  get newestOfPeer(): Message | undefined {
    return this.messages.findLast((each) => this.isTheirs(each));
  }

  /** The last change of the group that is here. */
  get newestChange(): bigint | undefined {
    return this.messages.findLast(({ note }) => note !== undefined)?.id;
  }

  /** Return a message that is here. */
  get(id: bigint): Message | undefined {
    const found = this.messages[this.placeOf(id)];
    return found?.id === id ? found : undefined;
  }

  /** The ids of what messages here answer, and what is not here. */
  get unknownQuotes(): bigint[] {
    const ids = this.messages.flatMap(({ replyTo }) => (replyTo === undefined ? [] : [replyTo]));
    return ids.filter((id) => !this.get(id) && !this.quoted.has(id));
  }

  /** The newest message of this user that can be edited; none while what was written last waits for its answer. */
  get newestOwn(): Message | undefined {
    if (this.outgoing.some((each) => each.why === undefined)) return undefined;
    return this.messages.findLast((each) => each.from === this.me && each.text && !each.deleted);
  }

  private placeOf(id: bigint): number {
    let low = 0;
    let high = this.messages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.messages[middle]!.id < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

type Counting = (message: Message) => boolean;
const isThere: Counting = ({ deleted }) => !deleted;
const isMention: Counting = (message) => isThere(message) && !!message.mentionsMe;

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
