/**
 * Typing and presence: what to say, and what was told. Nothing of it has to arrive, so nothing of it
 * is stored, sent again or acknowledged.
 */

import { create } from "./codec.js";
import { refused } from "./errors.js";
import type { Occurrence } from "./events.js";
import type {
  ClientFrame,
  ServerItem,
  Signal,
  SignalRefused,
  Welcome,
} from "./gen/cecochat/v1/messaging_pb.js";
import { ClientFrameSchema, TypingInSchema, WatchSchema } from "./gen/schemas.js";

const EVERY_MS = 3_000; // how often to say that the user still types
const OVER_MS = 6_000; // when typing is over that was not said again
const OVERTAKEN_MS = 1_000; // how long after a message typing may still come that was said before

export class Signals {
  private watched: readonly string[] = [];
  private isTaken = false; // the server takes signals in this session
  private watchMs: number | undefined; // when to say what is watched; undefined: it was said
  private toHide = false;
  private readonly toSay = new Map<string, boolean>(); // chat id -> whether the user types
  private readonly saidMs = new Map<string, number>(); // chat id -> when that was said last
  private readonly until = new Map<string, [number, string, string]>(); // who types: ms, chat, user
  private readonly wroteMs = new Map<string, number>(); // when they wrote, not long ago
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly tell: (occurrence: Occurrence) => void,
    private readonly toWrite: () => void,
    public invisible = false,
  ) {}

  // -- what the application says

  /** Watch these chats, and no others. */
  watch(chatIds: readonly string[]): void {
    this.watched = chatIds;
    for (const [key, [, chatId]] of this.until) {
      if (!chatIds.includes(chatId)) this.until.delete(key);
    }
    this.watchMs = Date.now();
    this.toWrite();
  }

  /** Note that the user types, or has stopped. It is said only if it is due. */
  types(chatId: string, active: boolean): void {
    const said = this.saidMs.get(chatId);
    if (active ? said !== undefined && Date.now() - said < EVERY_MS : said === undefined) return;
    if (active) this.saidMs.set(chatId, Date.now());
    else this.saidMs.delete(chatId);
    this.toSay.set(chatId, active);
    this.toWrite();
  }

  hide(invisible: boolean): void {
    this.invisible = invisible;
    this.toHide = true;
    this.toWrite();
  }

  /** Note that a message was sent, which ends the typing by itself. */
  sent(chatId: string): void {
    this.saidMs.delete(chatId);
    this.toSay.delete(chatId);
  }

  // -- a session

  /** Note that the first frame of a new session says whether the user hides. */
  hello(): { invisible?: boolean } {
    this.isTaken = this.toHide = false;
    return this.invisible ? { invisible: true } : {};
  }

  /** Note that a session has caught up. It knows of no watch yet. */
  begin(welcome: Welcome | undefined): void {
    this.isTaken = welcome?.takesSignals ?? false;
    this.watchMs = this.watched.length ? Date.now() : undefined;
    this.toSay.clear();
    this.saidMs.clear();
  }

  /** Return the next frame to write now, if there is one. */
  outgoing(): ClientFrame | undefined {
    if (!this.isTaken) return undefined;
    const frame = create(ClientFrameSchema, {});
    const [typing] = this.toSay;
    const watches = this.watchMs !== undefined && this.watchMs <= Date.now();
    if (this.toHide) frame.invisible = this.invisible;
    if (watches) frame.watch = create(WatchSchema, { chatIds: [...this.watched] });
    if (typing) {
      frame.typing = create(TypingInSchema, { chatId: typing[0], active: typing[1] });
      this.toSay.delete(typing[0]);
    }
    const isEmpty = !this.toHide && !watches && !typing;
    if (watches) this.watchMs = undefined;
    this.toHide = false;
    return isEmpty ? undefined : frame;
  }

  /** Take in an item of the stream. Return whether it is of signals alone. */
  receive({ item }: ServerItem): boolean {
    if (item.case === "delivered" && item.value.event?.body.case === "message") {
      this.wrote(item.value.event.chatId, item.value.event.userId);
    }
    if (item.case === "signal") this.told(item.value);
    if (item.case === "signalRefused") this.refused(item.value);
    return item.case === "signal" || item.case === "signalRefused";
  }

  private told({ chatId, userId, body }: Signal): void {
    if (!this.watched.includes(chatId)) return;
    if (body.case === "presence") {
      const { online, lastSeenMs } = body.value;
      const lastSeen = lastSeenMs ? { lastSeen: new Date(Number(lastSeenMs)) } : {};
      this.tell({ name: "presence", value: { chatId, userId, online, ...lastSeen } });
    } else if (body.case === "typing" && body.value.active) {
      const key = `${chatId} ${userId}`;
      if (Date.now() - (this.wroteMs.get(key) ?? 0) < OVERTAKEN_MS) return;
      const isNew = !this.until.has(key);
      this.until.set(key, [Date.now() + OVER_MS, chatId, userId]);
      if (isNew) this.tell({ name: "typing", value: { chatId, userId, active: true } });
      this.schedule();
    } else if (body.case === "typing") this.stopped(chatId, userId);
  }

  private wrote(chatId: string, userId: string): void {
    for (const [key, ms] of this.wroteMs) {
      if (ms < Date.now() - OVERTAKEN_MS) this.wroteMs.delete(key);
    }
    this.wroteMs.set(`${chatId} ${userId}`, Date.now());
    this.stopped(chatId, userId);
  }

  private stopped(chatId: string, userId: string): void {
    if (!this.until.delete(`${chatId} ${userId}`)) return;
    this.tell({ name: "typing", value: { chatId, userId, active: false } });
  }

  /** A refusal that passes is asked again. */
  private refused({ error }: SignalRefused): void {
    if (!error?.retriable) {
      return this.tell({ name: "signalrefused", value: { error: refused(error) } });
    }
    if (!this.watched.length) return;
    this.watchMs = Date.now() + Number(error.retryAfterMs);
    this.schedule();
  }

  /** Do in time what time alone makes due. */
  private schedule(): void {
    clearTimeout(this.timer);
    const now = Date.now();
    const times = [...this.until.values()].map(([ms]) => ms);
    if (this.watchMs && this.watchMs > now) times.push(this.watchMs);
    if (times.length) this.timer = setTimeout(() => this.due(), Math.min(...times) - now);
  }

  private due(): void {
    for (const [ms, chatId, userId] of [...this.until.values()]) {
      if (ms <= Date.now()) this.stopped(chatId, userId);
    }
    this.toWrite();
    this.schedule();
  }

  end(): void {
    clearTimeout(this.timer);
    this.isTaken = false;
  }
}
