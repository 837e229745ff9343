/**
 * Tabs of one user share one connection. The tab that holds a lock leads: it has the connection and
 * the storage. The others ask it over a BroadcastChannel, and hear of all events. When it is closed
 * or crashes, the browser gives the lock to another one, which goes on from the storage.
 */

import type { Backend, PageRequest } from "./backend.js";
import type { Core } from "./core.js";
import type { Body, Queued } from "./sending.js";
import { ChatError, chatError, closed, fromData, toData } from "./errors.js";
import type { Chat, Found, Message, Occurrence, Page } from "./events.js";
import { isEnd, wasEndedBy } from "./events.js";
import type { Group, Members } from "./group.js";
import { newId } from "./newid.js";
import { packed, unpacked } from "./packing.js";
import { Watches } from "./watches.js";

const TICK_MS = 1_000;
const SILENT_MAX = 8; // ticks without an answer, after which the leader is taken to be frozen
const DISPLACED = ["replaced", "storage_taken"]; // how a leader learns of the next one
const ALONE = ["listener_failed", "storage_upgraded"]; // end a leader, and leave the other tabs
const ENDED = new Set(["closed", ...ALONE, ...DISPLACED]);
const SEEN_MAX = 5_000;
const PASSING = ["status", "typing", "presence", "signalrefused"]; // what nobody needs to be told later
const KEPT_MAX = 5_000; // events that a tab which slept can be told again

type Emit = (occurrence: Occurrence) => Promise<void>;
type Name = Exclude<keyof Backend, "watch" | "close">;
const ONCE = ["message", "sent", "change", "membership", "settingschanged"]; // what has an id

/** What tabs tell each other. */
type Note =
  | { note: "who" } // a tab asks for the leader
  | { note: "lead"; tab: string; status: Occurrence; told: number } // there is a new leader, or it was asked for
  | { note: "call"; leader: string; tab: string; call: number; name: Name; args: unknown[] }
  | { note: "answer"; tab: string; call: number; value?: unknown; error?: unknown }
  | { note: "event"; leader: string; number: number; occurrence: Occurrence }
  | { note: "since"; leader: string; tab: string; number: number } // a tab has missed events, as in its sleep
  | { note: "gone"; tab: string } // the leader does not keep these any more
  | { note: "tick"; tab: string; watched?: readonly string[] } // somebody looks at a tab: timers of a hidden leader may be late
  | { note: "alive"; leader: string; told: number }; // the leader's answer

interface Pending {
  name: Name;
  args: unknown[];
  resolve(value: never): void;
  reject(error: ChatError): void;
}

export class Tabs implements Backend {
  private readonly tab = newId();
  private readonly channel: BroadcastChannel;
  private readonly pending = new Map<number, Pending>();
  private readonly seen = new Set<string>();
  private waiting = new AbortController(); // for the lock
  private calls = 0;
  private core: Core | undefined;
  private leader = "";
  private reign = 0; // counts the times that this tab began or ceased to lead
  private told: Occurrence[] = []; // by this tab, as the leader
  private last = 0; // the number of the last event that the leader has told, from 1 on
  private isNew = true; // nothing has been heard of any leader
  private asked = 0; // the event that the leader was asked for last, which may be on its way
  private readonly watches = new Watches();
  private invisible: boolean | undefined; // as this tab has said
  private silent = 0; // ticks since the leader was heard
  private error: ChatError | undefined; // what ended the client
  private isClosed = false;
  private release = (): void => {};
  private readonly ticking: ReturnType<typeof setInterval>;

  constructor(
    private readonly name: string,
    private readonly makeCore: (emit: Emit) => Promise<Core>,
    private readonly emit: Emit,
  ) {
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }: MessageEvent<Note>) => void this.heard(data);
    this.ticking = setInterval(() => this.tick(), TICK_MS);
  }

  start(): void {
    this.tell({ note: "who" });
    this.waiting = new AbortController();
    this.stand({ signal: this.waiting.signal });
  }

  /** Wait to become the leader. */
  private stand(options: LockOptions): void {
    navigator.locks.request(this.name, options, () => this.lead()).catch(() => this.displaced());
  }

  /** Another tab leads, since this one did not answer: the browser had frozen it. Follow. */
  private displaced(): void {
    if (!this.core || this.isClosed) return;
    this.reign++;
    this.core.stop();
    this.core = undefined;
    this.leader = "";
    this.release();
    this.start();
  }

  // -- as the leader

  /** Lead until this tab is closed. */
  private async lead(): Promise<void> {
    if (this.isClosed) return;
    const released = new Promise<void>((resolve) => (this.release = resolve));
    const reign = ++this.reign;
    const emit = (occurrence: Occurrence): Promise<void> =>
      reign === this.reign ? this.happened(occurrence) : new Promise(() => {}); // never taken
    let core: Core;
    try {
      core = this.core = await this.makeCore(emit);
    } catch (error) {
      const failed = chatError(error, "storage_failed"); // each other tab finds out by itself
      return this.emitOnce({ name: "status", value: { state: "closed", error: failed } });
    }
    this.told = [];
    if (this.invisible !== undefined) core.hide(this.invisible);
    this.watches.restart();
    this.watchAll();
    core.start();
    this.tellWhoLeads(core);
    this.follow(this.tab, 0);
    await released;
    await core.close();
  }

  private tellWhoLeads(core: Core): void {
    const status = packed({ name: "status", value: core.status });
    this.tell({ note: "lead", tab: this.tab, status, told: this.told.length });
  }

  /** Tell all tabs of an event. It is taken once the listeners of this one have taken it. */
  private async happened(occurrence: Occurrence): Promise<void> {
    if (this.isClosed && isEnd(occurrence)) return; // of this tab alone
    if (wasEndedBy(occurrence, DISPLACED)) return this.displaced();
    if (wasEndedBy(occurrence, ALONE)) return this.emitOnce(occurrence); // another tab goes on
    const number = PASSING.includes(occurrence.name) ? 0 : this.told.push(packed(occurrence));
    this.tellEvent(number, packed(occurrence));
    this.watches.note(occurrence);
    if (number > KEPT_MAX) delete this.told[number - KEPT_MAX];
    await this.emitOnce(occurrence);
  }

  private tellEvent(number: number, occurrence: Occurrence): void {
    this.tell({ note: "event", leader: this.tab, number, occurrence });
  }

  private tellAgain({ tab, number: from }: Note & { note: "since" }): void {
    if (from <= this.told.length && !(from - 1 in this.told)) this.tell({ note: "gone", tab });
    else this.told.forEach((each, at) => at + 1 >= from && this.tellEvent(at + 1, each));
  }

  private async answer({ tab, call, name, args }: Note & { note: "call" }): Promise<void> {
    try {
      const value = await this.run(name, args);
      this.tell({ note: "answer", tab, call, value });
    } catch (thrown) {
      const error = chatError(thrown, "internal");
      if (ENDED.has(error.code)) return; // the next leader is asked again
      this.tell({ note: "answer", tab, call, error: toData(error) });
    }
  }

  private run(name: Name, args: unknown[]): unknown {
    const method = this.core![name] as (...args: unknown[]) => unknown;
    return method.apply(this.core, args);
  }

  // -- as any tab

  private async heard(note: Note): Promise<void> {
    if (["lead", "event", "answer", "alive"].includes(note.note)) this.silent = 0;
    switch (note.note) {
      case "who":
        return this.core && this.tellWhoLeads(this.core);
      case "tick":
        if (this.core) this.tell({ note: "alive", leader: this.tab, told: this.told.length });
        return this.ticked(note);
      case "call":
        // What was meant for the last leader comes again, in order, once this one is known.
        return this.core && note.leader === this.tab ? this.answer(note) : undefined;
      case "since":
        return this.core && note.leader === this.tab ? this.tellAgain(note) : undefined;
      case "gone":
        if (note.tab !== this.tab || this.core) return;
        return this.emitOnce({ name: "status", value: { state: "closed", error: overslept() } });
      case "alive":
        return this.catchUp(note.leader, note.told);
      case "event":
        if (note.number && !this.isNext(note)) return;
        return this.emitOnce(unpacked(note.occurrence)).catch(() => {});
      case "lead":
        this.follow(note.tab, this.isNew ? note.told : 0);
        this.catchUp(note.tab, note.told);
        return this.emitOnce(unpacked(note.status)).catch(() => {});
      case "answer":
        return note.tab === this.tab ? this.answered(note) : undefined;
    }
  }

  /** Whether this is the leader's next event. If one was missed, ask for it again. */
  private isNext({ leader, number }: Note & { note: "event" }): boolean {
    const isNext = leader === this.leader && number === this.last + 1;
    if (isNext) this.last = number;
    else this.catchUp(leader, number);
    return isNext;
  }

  private catchUp(leader: string, told: number): void {
    const next = this.last + 1;
    if (this.core || leader !== this.leader || told < next || this.asked === next) return;
    this.asked = next;
    this.tell({ note: "since", leader, tab: this.tab, number: next });
  }

  private answered({ call, value, error }: Note & { note: "answer" }): void {
    const pending = this.pending.get(call);
    this.pending.delete(call);
    if (error) pending?.reject(fromData(error as ChatError));
    else pending?.resolve(value as never);
  }

  /** Messages may be told again by the next leader, if the last one died before it saved them. */
  private async emitOnce(occurrence: Occurrence): Promise<void> {
    const { name, value } = occurrence;
    const key = ONCE.includes(name) ? `${name} ${(value as { id: bigint }).id}` : "";
    if (key) {
      if (this.seen.has(key)) return;
      this.seen.add(key);
      if (this.seen.size > SEEN_MAX) this.seen.delete(this.seen.values().next().value!);
    }
    if (name === "status" && value.state === "closed") this.end(value.error);
    await this.emit(occurrence).catch((error: unknown) => {
      this.seen.delete(key); // a tab that threw has not taken it
      throw error;
    });
  }

  private call<T>(name: Name, ...args: unknown[]): Promise<T> {
    if (this.isClosed) return Promise.reject(this.error ?? closed());
    return new Promise<T>((resolve, reject) => {
      this.pending.set(++this.calls, { name, args, resolve, reject });
      void this.ask(this.calls);
    });
  }

  /** Ask a new leader, in order, what the last one has not answered. It may have done it. */
  private follow(leader: string, last: number): void {
    if (leader === this.leader) return;
    this.leader = leader;
    this.last = last;
    this.asked = 0;
    this.isNew = false;
    for (const [call, { name, args }] of this.pending) {
      if (name === "send" || name === "post") args[3] = true;
      void this.ask(call);
    }
  }

  /** Ask the leader, which may be this tab. If there is none just now, the next one is asked. */
  private async ask(call: number): Promise<void> {
    const { name, args, resolve, reject } = this.pending.get(call)!;
    if (!this.core) {
      return this.tell({ note: "call", leader: this.leader, tab: this.tab, call, name, args });
    }
    try {
      resolve((await this.run(name, args)) as never);
    } catch (error) {
      const failed = chatError(error, "internal");
      if (ENDED.has(failed.code) && !this.isClosed) return; // the next leader is asked again
      reject(failed);
    }
    this.pending.delete(call);
  }

  private tell(note: Note): void {
    if (!this.isClosed) this.channel.postMessage(note);
  }

  private tick(): void {
    if (this.core) this.watchAll();
    if (this.core || document.visibilityState !== "visible") return;
    this.tellTick();
    this.asked = 0; // it would have come by now
    if (++this.silent < SILENT_MAX) return;
    this.silent = 0;
    this.waiting.abort();
    this.stand({ steal: true });
  }

  private tellTick(): void {
    this.tell({ note: "tick", tab: this.tab, watched: this.watches.ours });
  }

  /** Watch, as the leader, what all tabs that somebody looks at watch. */
  private watchAll(): void {
    const changed = this.core && this.watches.changed();
    if (changed) this.core!.watch(changed);
  }

  private ticked({ tab, watched }: Note & { note: "tick" }): void {
    if (!this.core) return;
    const known = watched ? this.watches.heard(tab, watched) : []; // earlier versions watch nothing
    known.forEach((each) => this.tellEvent(0, each));
    this.watchAll();
    this.core.nudge();
  }

  /** Let go of everything. */
  private end(error: ChatError | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.error = error;
    clearInterval(this.ticking);
    this.waiting.abort();
    for (const { reject } of this.pending.values()) reject(error ?? closed());
    this.pending.clear();
    this.release();
    setTimeout(() => this.channel.close()); // what was posted just now still goes out
  }

  // -- what the client asks for

  readonly reporting: Backend["reporting"] = (asked) => this.call("reporting", asked);
  send(chatId: string, text: string, id: string, again: boolean): Promise<bigint> {
    return this.call("send", chatId, text, id, again);
  }

  post(chatId: string, body: Body, id: string, again: boolean): Promise<bigint> {
    return this.call("post", chatId, body, id, again);
  }

  chats(request: PageRequest): Promise<Chat[]> {
    return this.call("chats", request);
  }

  page(chatId: string, request: PageRequest): Promise<Page> {
    return this.call("page", chatId, request);
  }

  search(text: string, chatId: string, request: PageRequest): Promise<Found> {
    return this.call("search", text, chatId, request);
  }

  group(chatId: string): Promise<Group> {
    return this.call("group", chatId);
  }

  members(chatId: string, after: string, asOf: bigint): Promise<Members> {
    return this.call("members", chatId, after, asOf);
  }

  attachments(name: string, request: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    return this.call("attachments", name, request);
  }

  recent(chatId: string): Promise<Message[]> {
    return this.call("recent", chatId);
  }

  queued(chatId: string): Promise<Queued[]> {
    return this.call("queued", chatId);
  }

  markRead(chatId: string, messageId: bigint): void {
    this.call("markRead", chatId, messageId).catch(() => {});
  }

  watch(chatIds: readonly string[]): void {
    for (const each of this.watches.watch(chatIds)) void this.emitOnce(each).catch(() => {});
    if (this.core) this.watchAll();
    else this.tellTick();
  }

  typing(chatId: string, active: boolean): void {
    this.call("typing", chatId, active).catch(() => {});
  }

  hide(invisible: boolean): void {
    this.invisible = invisible;
    this.call("hide", invisible).catch(() => {});
  }

  /** Leave. If this tab leads, another one goes on. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    await this.core?.flush();
    this.end(undefined);
    await this.core?.close();
    await this.emit({ name: "status", value: { state: "closed" } });
  }
}

function overslept(): ChatError {
  return new ChatError("slow", `this tab has slept through ${KEPT_MAX} events: reload the page`);
}
