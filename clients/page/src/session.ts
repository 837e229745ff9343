import { draftOf, keepDraft } from "./drafts";
import { Chats, isHeard } from "./model/chats";
import type { Conversation } from "./model/conversation";
import type { Group } from "./model/group";
import { type Hole, type Marks, type Message, type Presence, spoken } from "./model/message";
import type { Settings } from "./model/settings";
import type { Client, Connect, Found, Groups, Listener, Status } from "./port";
import { loadQuoted } from "./quotes";
import { Safety } from "./safety";

const PAGE = 50;
const WATCHED_MAX = 64;
const TIMER_MAX_MS = 2 ** 31 - 1; // above that, timers end at once
const MISSED_MS = 20_000; // after which a list that lacks a change stays as it is
const MISSING = "The server does not answer. What you write is sent as soon as it does.";

/** What tabs of one user tell each other: how far one of them has shown a chat. */
interface Seen {
  readonly peer: string;
  readonly upTo: bigint;
}

/** What one user sees: it tells the model what happens, and the view when to look again. */
export class Session implements Listener {
  readonly chats: Chats;
  state: Status = { state: "connecting" };
  /** Why the history cannot be read just now. */
  trouble: string | undefined;
  /** What a screen reader says next. */
  announced = "";
  opened: Conversation | undefined;
  /** The message that is answered or edited, if what is written is about one. */
  about: { readonly act: "reply" | "edit"; readonly message: Message } | undefined;
  readonly safety = new Safety(() => this.client?.safety, (said) => this.announce(said));
  private client: Client | undefined;
  readonly link: Client["link"] = (...of) => this.client!.link(...of);
  /** Whether a session began: what was accepted before it is in the history that the client reads, and the rest is told. */
  private hasBegun = false;
  private isClosed = false;
  private readonly tabs: BroadcastChannel;
  private readonly loading = new Set<Conversation>();
  private looksAtTheEnd = false;
  private watched = "";
  private waking: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly me: string,
    private readonly redraw: () => void,
  ) {
    this.chats = new Chats(me);
    this.tabs = new BroadcastChannel(`cecochat page ${me}`);
    this.tabs.onmessage = ({ data }: MessageEvent<Seen>) => this.read(data.peer, data.upTo);
  }

  async start(connect: Connect): Promise<void> {
    this.client = await connect(this.me, this);
    this.watch();
    this.status(this.state);
  }

  // -- what a person does

  open(peer: string | undefined): void {
    this.opened = peer === undefined || peer === this.me ? undefined : this.chats.with(peer);
    this.opened?.open();
    this.about = undefined;
    this.safety.why = "";
    this.watch();
    this.looksAtTheEnd = false; // until the view says so
    this.redraw();
    if (!this.opened) return;
    if (!this.opened.loaded) void this.load(this.opened);
    if (this.opened.isGroup && !this.opened.group) void this.loadGroup(this.opened);
  }

  send(chat: Conversation, text: string, files: readonly File[] = []): void {
    const { about } = this;
    this.about = undefined;
    if (about?.act === "edit") {
      if (text !== about.message.text) this.client?.edit(chat.peer, about.message.id, text);
      this.redraw();
    } else {
      chat.newFrom = undefined;
      this.say(chat, text, about?.message.id, files);
      this.keepDraft(chat, "");
    }
  }

  private say(chat: Conversation, text: string, replyTo?: bigint, files: readonly File[] = []): void {
    const key = this.client!.send(chat.peer, text, replyTo, files);
    chat.say({ key, text, at: new Date(), replyTo, files });
  }

  /** Begin to answer or edit a message, or to write a new one. */
  compose(about: Session["about"]): void {
    this.about = about;
    this.redraw();
  }

  remove(chat: Conversation, message: Message): void {
    this.client?.remove(chat.peer, message.id, message.from !== this.me);
  }

  /** Add an emoji of this user to a message, or take it back. */
  react(chat: Conversation, message: Message, emoji: string): void {
    const isThere = message.reactions?.some((each) => each.emoji === emoji && each.from === this.me);
    this.client?.react(chat.peer, message.id, emoji, !!isThere);
  }

  /** Mute, archive or pin a chat, or take that back. `said` tells of it. */
  set(chat: Conversation, change: Partial<Settings>, said: string): void {
    if (!this.client) return;
    const settings = { ...chat.settings.now, ...change };
    chat.settings.want(this.client.set(chat.peer, settings), settings);
    this.announced = `${chat.name}: ${said}`;
    this.hasSet();
  }

  private announce(said = this.announced): void {
    this.announced = said;
    this.redraw();
  }

  /** Look again now, and when the next chat is not muted any more. */
  private hasSet(): void {
    clearTimeout(this.waking);
    const next = this.chats.nextHeardMs();
    const waitMs = Math.min((next ?? Infinity) - Date.now(), TIMER_MAX_MS);
    if (next !== undefined && !this.isClosed) this.waking = setTimeout(() => this.hasSet(), waitMs);
    this.redraw();
  }

  /** Return the newest messages with these words; none if they cannot be looked for just now. */
  async search(text: string, limit: number): Promise<readonly Found[]> {
    return (await this.client?.search(text, limit).catch(() => [])) ?? [];
  }

  // -- groups

  /** What can be changed in groups, once this has started. */
  get groups(): Groups {
    return this.client!.groups;
  }

  private async loadGroup(chat: Conversation): Promise<void> {
    if (!this.client || !this.hasBegun) return;
    try {
      this.knows(chat, (await this.client.group(chat.peer)) ?? { name: chat.peer, isChannel: false });
    } catch {
      this.trouble = MISSING;
    }
    this.redraw();
  }

  /** Note what a group is. Who has joined it can read it now. */
  private knows(chat: Conversation, group: Group): void {
    const hasCome = group.role && !chat.group?.role;
    chat.group = group;
    if (hasCome && chat === this.opened && !chat.loaded) void this.loadOlder(chat);
    this.watch();
  }

  groupChanged(peer: string): void {
    void this.loadGroup(this.chats.with(peer));
  }

  retry(chat: Conversation, key: string): void {
    const refused = chat.outgoing.find((each) => each.key === key);
    if (!refused || !this.client) return;
    this.say(chat, refused.text, refused.replyTo, refused.files);
    chat.settle(key);
    this.redraw();
  }

  drop(chat: Conversation, key: string): void {
    chat.settle(key);
    this.redraw();
  }

  draft(chat: Conversation): string {
    return draftOf(this.me, chat.peer);
  }

  keepDraft(chat: Conversation, text: string): void {
    keepDraft(this.me, chat.peer, text);
    this.redraw();
  }

  /** Note what a person has in the field of a chat. */
  types(chat: Conversation, text: string): void {
    this.client?.typing(chat.peer, text.trim() !== "");
  }

  /** Watch the open chat, and those at the top of the list. Only members may watch a group. */
  private watch(): void {
    const shown = [...(this.opened ? [this.opened] : []), ...this.chats.sorted];
    const ours = shown.filter((chat) => !chat.isGroup || chat.group?.role).map(({ peer }) => peer);
    const peers = [...new Set(ours)].slice(0, WATCHED_MAX);
    const key = [...peers].sort().join();
    if (!this.client || key === this.watched) return;
    this.watched = key;
    this.client.watch(peers);
  }

  /** Note whether a person looks at the end of the open chat, and so reads what comes. */
  looks(atTheEnd: boolean): void {
    this.looksAtTheEnd = atTheEnd;
    this.look();
  }

  close(): void {
    this.isClosed = true;
    this.tabs.close();
    clearTimeout(this.waking);
    this.client?.close();
  }

  // -- the history

  /** Read the list of chats. Return whether it has a change of a chat. */
  private async loadChats(peer?: string, changeId = 0n): Promise<boolean> {
    let hasChange = false;
    try {
      for (const each of (await this.client?.chats()) ?? []) {
        hasChange ||= each.peer === peer && each.changeId >= changeId;
        const chat = this.chats.list(each);
        if (each.group) this.knows(chat, each.group);
      }
      this.chats.loaded = true;
      this.watch();
      this.trouble = undefined;
      this.opened?.open();
      this.look();
    } catch {
      this.trouble = MISSING;
    }
    this.hasSet();
    return hasChange;
  }

  /** Read the list until it has a change, which the stream may bring before the history has it. */
  private async loadChanged(peer: string, changeId: bigint): Promise<void> {
    for (let waitMs = 50; waitMs < MISSED_MS && !this.isClosed; waitMs *= 2) {
      if (await this.loadChats(peer, changeId)) return;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  /** Show what this browser has of a chat, then what the server has. */
  private async load(chat: Conversation): Promise<void> {
    if (!this.client) return;
    const [stored, waiting] = await Promise.all([
      this.client.stored(chat.peer),
      this.client.waiting(chat.peer),
    ]);
    stored.forEach((each) => chat.add(each));
    for (const { key, text } of waiting) {
      if (!chat.outgoing.some((each) => each.key === key)) chat.say({ key, text, at: new Date() });
    }
    this.redraw();
    await this.loadOlder(chat);
  }

  /** Read the page before the oldest message that is known. */
  async loadOlder(chat: Conversation): Promise<void> {
    if (!this.client || !this.hasBegun || chat.complete || this.loading.has(chat)) return;
    this.loading.add(chat);
    try {
      const page = await this.client.page(chat.peer, chat.loaded ? chat.oldest : undefined, PAGE);
      page.messages.forEach((each) => chat.add(each));
      if (!chat.loaded) chat.open();
      chat.loaded = true;
      chat.complete = !page.more;
      this.trouble = undefined;
    } catch (error) {
      if ((error as { code?: string }).code !== "not_found") this.trouble = MISSING;
    } finally {
      this.loading.delete(chat);
    }
    this.redraw();
    await this.loadQuoted(chat);
  }

  private async loadQuoted(chat: Conversation): Promise<void> {
    if (this.client) await loadQuoted(chat, this.client, this.redraw);
  }

  // -- what the client tells

  message(peer: string, message: Message): void {
    const chat = this.chats.with(peer);
    const isNew = !chat.isGroup && !this.chats.lastOf(chat);
    if (!chat.add(message)) return;
    if (isNew && message.from !== this.me) void this.loadChanged(peer, 0n); // it may be a request
    if (chat.loaded) void this.loadQuoted(chat);
    const isNote = message.note !== undefined;
    const isTheirs = !isNote && message.from !== this.me;
    if (isTheirs && !this.reads(chat)) chat.newFrom ??= message.id;
    if ((isNote || isTheirs) && isHeard(chat)) this.announced = spoken(message);
    this.watch();
    this.look();
    this.redraw();
  }

  changed(peer: string, message: Message | undefined, changeId: bigint | undefined): void {
    const isHere = message && this.chats.changed(peer, message);
    const isUnread = !isHere && this.chats.with(peer).unread > 0; // or may be
    if (changeId && isUnread) void this.loadChanged(peer, changeId);
    if (message?.deleted && this.about?.message.id === message.id) this.about = undefined;
    this.redraw();
  }

  unchanged(why: string, key: string, peer: string | undefined): void {
    if (peer !== undefined) this.chats.with(peer).settings.settle(key);
    this.announce(`Not changed: ${why}`);
  }

  chatSet(peer: string, id: bigint, settings: Settings, key?: string): void {
    this.chats.with(peer).settings.tell(id, settings, key);
    this.hasSet();
  }

  receipt(peer: string, marks: Marks): void {
    this.chats.with(peer).mark(marks);
    this.redraw();
  }

  read(peer: string, upTo: bigint): void {
    this.chats.with(peer).read(upTo);
    this.redraw();
  }

  sent(key: string, peer: string, message: Message): void {
    const chat = this.chats.with(peer);
    chat.settle(key);
    chat.add(message);
    this.redraw();
  }

  rejected(key: string, peer: string, text: string, why: string): void {
    const chat = this.chats.with(peer);
    if (!chat.outgoing.some((each) => each.key === key)) chat.say({ key, text, at: new Date() });
    chat.refuse(key, why);
    this.announce(`Not sent: ${why}`);
  }

  hole(peer: string | undefined, hole: Hole): void {
    const concerned = peer === undefined ? this.chats.sorted : [this.chats.with(peer)];
    concerned.forEach((chat) => chat.addHole(hole));
    this.redraw();
  }

  typing(peer: string, user: string, active: boolean): void {
    const { typists } = this.chats.with(peer);
    if (active) typists.add(user);
    else typists.delete(user);
    this.redraw();
  }

  presence(peer: string, presence: Presence): void {
    this.chats.with(peer).presence = presence;
    this.redraw();
  }

  caughtUp(): void {
    if (this.trouble) void this.loadChats();
    if (this.opened && !this.opened.loaded) void this.loadOlder(this.opened);
  }

  status(status: Status): void {
    this.state = status;
    if (this.client && !this.hasBegun) this.reach(status);
    this.redraw();
  }

  private reach({ state }: Status): void {
    this.hasBegun = state === "connected";
    if (this.hasBegun || (state === "waiting" && !this.chats.loaded)) void this.loadChats();
    if (this.hasBegun) void this.safety.load();
    if (!this.opened) return;
    void this.loadOlder(this.opened);
    if (this.opened.isGroup) void this.loadGroup(this.opened);
  }

  private reads(chat: Conversation): boolean {
    const looks = document.visibilityState === "visible" && document.hasFocus();
    return chat === this.opened && looks && this.looksAtTheEnd;
  }

  /** Mark the open chat as read, if a person looks at its end. */
  look(): void {
    const chat = this.opened;
    const newest = chat?.newestOfPeer;
    if (!chat || !newest || chat.unread === 0 || chat.isRequest || !chat.loaded || !this.reads(chat)) return;
    if (!chat.read(newest.id)) return;
    if (!this.isClosed) this.tabs.postMessage({ peer: chat.peer, upTo: newest.id } satisfies Seen);
    this.client?.markRead(chat.peer, newest.id);
    this.redraw();
  }
}
