/** One connected device: it stays connected until it is closed. */

import type { Backend, PageRequest } from "./backend.js";
import { waitMs } from "./backoff.js";
import { Device } from "./device.js";
import { ChatError, chatError, closed, unusable } from "./errors.js";
import type { Chat, Found, Message, Occurrence, Page, Status } from "./events.js";
import { chatFrom, entryOf, foundFrom } from "./events.js";
import { Filling } from "./gap.js";
import { type Group, type Members, groupOf, memberOf } from "./group.js";
import type { ServerItem } from "./gen/cecochat/v1/messaging_pb.js";
import { Keeper } from "./keeper.js";
import { LocalDevice } from "./local.js";
import { type Fetch, Lookup, type Route, type Token } from "./lookup.js";
import { newId } from "./newid.js";
import { Queries } from "./queries.js";
import { recent } from "./recent.js";
import { reported } from "./reporting.js";
import { type Ended, type Peer, Session, type SocketClass } from "./session.js";
import { type Body, type Queued, Sending } from "./sending.js";
import type { Kept } from "./storage.js";
import type { Surroundings } from "./surroundings.js";
import { asTheyAre } from "./timeline.js";

const RECEIPT_EVERY_MS = 200;
const FLUSH_MS = 3_000;
const LASTED_MS = 10_000; // a session of this length starts the back-off again

export interface CoreOptions {
  url: string;
  token: Token;
  device: string;
  receipts: boolean;
  invisible?: boolean;
  WebSocket: SocketClass;
  fetch: Fetch;
}

export class Core implements Peer {
  status: Status = { state: "connecting" };
  readonly attachments: Backend["attachments"];
  readonly reporting: Backend["reporting"] = (asked) => reported(asked, this.queries, this.local);
  private readonly lookup: Lookup;
  private readonly queries: Queries;
  private readonly local: LocalDevice;
  private readonly keeper: Keeper;
  private readonly filling: Filling;
  private readonly sending: Sending;
  private session: Session | undefined;
  private attempt = 0;
  private caughtUpMs = Infinity; // when this session had caught up
  private error: ChatError | undefined; // what ended the client
  private isClosed = false;
  private telling: ReturnType<typeof setTimeout> | undefined;
  private hurry = (): void => {};
  private running: Promise<void> = Promise.resolve();
  private lookedAtMs = 0; // when somebody last looked at another tab

  constructor(
    readonly userId: string,
    private readonly options: CoreOptions,
    private readonly kept: Kept,
    private readonly surroundings: Surroundings,
    /** Hands an event to the listeners. It is taken when this has resolved. */
    private readonly emit: (occurrence: Occurrence) => Promise<void>,
  ) {
    const { url, token, fetch } = options;
    this.lookup = new Lookup(url, token, fetch);
    this.queries = new Queries(this.lookup, fetch);
    this.attachments = (name, request) => this.queries.attachments(url, name, request);
    const device = restored(kept, userId);
    this.keeper = new Keeper(kept, () => this.local.progress.snapshot());
    this.local = new LocalDevice(device, this.owner(), options.receipts, options.invisible);
    this.filling = new Filling(this.local, this.queries);
    const keep = (): void => void this.keeper.keep().catch(this.keeper.failed);
    this.sending = new Sending(this.local, (chatId) => this.stored(chatId), keep);
    kept.lost = (error) => void this.letGo(error);
    this.keeper.failed = (error) => this.fail(chatError(error, "storage_failed"));
  }

  private owner(): ConstructorParameters<typeof LocalDevice>[1] {
    return {
      take: this.emit,
      changed: () => this.keeper.changed(),
      keepMessage: (message) => this.keeper.message(message),
      drained: () => this.session?.end({}),
      failed: (error) => this.fail(chatError(error, "listener_failed")),
      toWrite: () => void this.session?.write(),
      toTell: () => this.tellSoon(),
      signalled: (occurrence) => void this.emit(occurrence).catch(() => {}),
    };
  }

  start(): void {
    this.surroundings.watch({
      online: () => this.goOn(),
      visible: () => this.goOn(),
      offline: () => this.session?.end({ error: offline() }),
      leaving: () => void this.keeper.keep().catch(() => this.keeper.changed()), // tries again
    });
    this.running = this.run();
  }

  private goOn(): void {
    this.attempt = 0;
    this.hurry();
  }

  // -- what the application asks for

  /** Send a message. With `again`, it may have been sent before. */
  send(chatId: string, text: string, clientMessageId: string, again = false): Promise<bigint> {
    return this.post(chatId, { case: "message", value: { text } }, clientMessageId, again);
  }

  /** Send a message with more than a text, or a change of one. */
  post(chatId: string, body: Body, clientMessageId: string, again = false): Promise<bigint> {
    return this.sending.send({ chatId, body, clientMessageId }, again);
  }

  /** Return the messages of a chat that are queued, and stored, oldest first. */
  async queued(chatId: string): Promise<Queued[]> {
    await this.keeper.keep();
    return this.sending.queued(chatId);
  }

  markRead(chatId: string, messageId: bigint): void {
    this.sending.note(chatId, messageId);
    this.local.read(chatId, messageId);
  }

  watch(chatIds: readonly string[]): void {
    this.local.signals.watch(chatIds);
  }

  typing(chatId: string, active: boolean): void {
    this.local.signals.types(chatId, active);
  }

  hide(invisible: boolean): void {
    this.local.signals.hide(invisible);
  }

  async recent(chatId: string): Promise<Message[]> {
    return asTheyAre(await this.stored(chatId));
  }

  private async stored(chatId: string): Promise<Message[]> {
    await this.keeper.keep();
    return this.kept.recent(chatId);
  }

  async chats({ before = 0n, limit = 50 }: PageRequest): Promise<Chat[]> {
    const token = this.local.readToken();
    const answer = await this.queries.chats({ before, limit, ...(token && { token }) });
    return answer.chats.map(chatFrom);
  }

  async page(chatId: string, { before, after, limit = 50 }: PageRequest): Promise<Page> {
    const token = this.local.readToken();
    const bound =
      before !== undefined
        ? ({ case: "before", value: before } as const)
        : after !== undefined
          ? ({ case: "after", value: after } as const)
          : ({ case: undefined } as const);
    const page = await this.asked(chatId, () =>
      this.queries.messages({ chatId, bound, limit, ...(token && { token }) }),
    );
    const newest = page.messages.at(-1);
    if (newest) this.sending.note(chatId, newest.id);
    const states = new Map(page.states.map((state) => [state.messageId, state]));
    const messages = page.messages.map((event) => entryOf(event, states.get(event.id)));
    return { messages, hasMore: page.hasMore };
  }

  async search(text: string, chatId: string, asked: PageRequest): Promise<Found> {
    const { before = 0n, limit = 50 } = asked;
    const token = this.local.readToken();
    const request = { text, chatId, before, limit, ...(token && { token }) };
    return foundFrom(await this.queries.search(request));
  }

  async group(chatId: string): Promise<Group> {
    const token = this.local.readToken();
    const ask = () => this.queries.group({ chatId, ...(token && { token }) });
    return groupOf(chatId, await this.asked(chatId, ask, ({ asOf }) => asOf));
  }

  /** Return a page of the members above a user id. `asOf` is that of the first page, or 0n. */
  async members(chatId: string, afterUserId: string, asOf: bigint): Promise<Members> {
    const token = this.local.readToken();
    const ask = () => this.queries.members({ chatId, afterUserId, asOf, ...(token && { token }) });
    const page = await (asOf ? ask() : this.asked(chatId, ask, (answer) => answer.asOf));
    return { members: page.members.map(memberOf), hasMore: page.hasMore, asOf: page.asOf };
  }

  /** Ask until the answer has the last change that came of a group, if any came. */
  private asked<T>(
    chatId: string,
    ask: () => Promise<T>,
    asOf: (answer: T) => bigint | undefined = () => undefined,
  ): Promise<T> {
    const last = this.local.groupChanges.get(chatId);
    if (last === undefined) return ask();
    return recent(ask, (answer) => (asOf(answer) ?? last) >= last);
  }

  /** Send the remaining receipts, save the state and disconnect. */
  async close(): Promise<void> {
    await this.flush();
    this.fail(undefined);
    await this.running;
  }

  /** End at once: another tab has taken over. */
  stop(): void {
    this.fail(undefined);
  }

  /** Send the remaining receipts, and wait for their answers for up to 3 s. */
  async flush(): Promise<void> {
    if (this.isClosed) return;
    this.local.tellMarks();
    const giveUpMs = Date.now() + FLUSH_MS;
    while (!this.local.marks.idle && this.status.state === "connected" && Date.now() < giveUpMs) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Somebody looks at another tab. Do what is due: timers of a hidden page may be a minute late. */
  nudge(): void {
    const isNew = !this.isLookedAt;
    this.lookedAtMs = Date.now();
    if (this.telling) this.local.tellMarks();
    if (this.status.state !== "waiting") return;
    if (isNew) this.goOn();
    else if (this.status.until.getTime() < Date.now()) this.hurry();
  }

  private get isLookedAt(): boolean {
    return Date.now() - this.lookedAtMs < 5_000;
  }

  // -- the connection

  private async run(): Promise<void> {
    let ended: Ended = {};
    while (!this.isClosed) {
      await this.pause(ended.error);
      if (this.isClosed) break;
      this.setStatus({ state: "connecting" });
      try {
        ended = await this.connect(ended.websocket);
      } catch (error) {
        ended = { error: chatError(error, "internal", true) };
      }
    }
    await this.keeper.keep().catch(() => {});
    await this.kept.close();
    const { error } = this;
    this.setStatus(error ? { state: "closed", error } : { state: "closed" });
  }

  /** Open a session, and serve until it ends. */
  private async connect(moved: string | undefined): Promise<Ended> {
    const found = moved ? this.moved(moved) : this.found();
    const [url, token] = await this.lookup.unlessClosed(found);
    if (this.isClosed) return {};
    this.caughtUpMs = Infinity;
    this.session = new Session(this.local, this);
    const { WebSocket, device } = this.options;
    const ended = await this.session.run(WebSocket, url, token, device);
    this.session = undefined;
    if (Date.now() - this.caughtUpMs >= LASTED_MS) this.attempt = 0;
    this.lookup.note(ended.error, token);
    return ended;
  }

  private async found(): Promise<[string, string]> {
    const [route, token] = await this.lookup.find();
    this.check(route.user_id);
    return [websocketOf(route), token];
  }

  private async moved(url: string): Promise<[string, string]> {
    return [url, await this.lookup.token()];
  }

  private check(userId: string): void {
    if (userId === this.userId) return;
    const message = `the token belongs to ${userId}, and this client to ${this.userId}`;
    throw new ChatError("other_user", message);
  }

  private async pause(error: ChatError | undefined): Promise<void> {
    if (!error) return;
    if (!this.lookup.mends(error)) return this.fail(error);
    const { offline } = this.surroundings;
    const hidden = this.surroundings.hidden && !this.isLookedAt;
    const asked = this.lookup.asked;
    const options = { atLeastMs: error.retryAfterMs, hidden, ...(asked && { asked }) };
    const wait = waitMs(offline ? 32 : this.attempt++, offline ? 1 : Math.random(), options);
    this.setStatus({ state: "waiting", until: new Date(Date.now() + wait), error });
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private setStatus(status: Status): void {
    if (this.status.state === status.state && status.state !== "waiting") return;
    this.status = status;
    void this.emit({ name: "status", value: status }).catch(() => {});
  }

  /** End, and let go of the storage at once: somebody waits for it. */
  private async letGo(error: ChatError): Promise<void> {
    this.fail(error);
    await this.keeper.keep().catch(() => {});
    await this.kept.close();
    this.setStatus({ state: "closed", error });
  }

  /** End the client, for good: by `error`, or because the application closes it. */
  private fail(error: ChatError | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.error = error;
    this.lookup.close();
    clearTimeout(this.telling);
    this.local.end(error ?? closed());
    this.session?.close();
    this.surroundings.unwatch();
    this.hurry();
    this.sending.end(error);
  }

  // -- what a session asks for

  keep(): Promise<void> {
    return this.keeper.keep();
  }

  fill(gap: Parameters<Filling["fill"]>[0]): Promise<void> {
    return this.filling.fill(gap);
  }

  expiring(): void {
    if (!this.lookup.renewable) return;
    this.lookup.token().then(
      (token) => this.local.renew(token),
      () => {}, // once this session ends, the next attempt asks again
    );
  }

  arrived({ item }: ServerItem): void {
    if (item.case === "welcome") this.check(item.value.userId);
    if (item.case === "ack" || item.case === "refused")
      queueMicrotask(() => this.sending.answered());
    if (item.case === "caughtUp") {
      this.caughtUpMs = Math.min(this.caughtUpMs, Date.now());
      this.setStatus({ state: "connected" });
    }
  }

  private tellSoon(): void {
    if (this.telling || this.isClosed) return;
    this.telling = setTimeout(() => {
      this.telling = undefined;
      this.local.tellMarks();
    }, RECEIPT_EVERY_MS);
  }
}

/** Return the device that is stored, or a new one. */
function restored({ device }: Kept, userId: string): Device {
  try {
    return device ? Device.restored(device) : new Device(userId, newId());
  } catch (error) {
    throw unusable("what is stored", error, "delete it to begin anew");
  }
}

function websocketOf(route: Route): string {
  if (route.websocket) return route.websocket;
  const message = `${route.server_id} answers no WebSockets: upgrade it`;
  throw new ChatError("unimplemented", message);
}

function offline(): ChatError {
  return new ChatError("not_reachable", "the browser is offline", true);
}
