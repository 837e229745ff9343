import { draftOf, keepDraft } from "./drafts";
import { Chats } from "./model/chats";
import type { Conversation } from "./model/conversation";
import type { Hole, Marks, Message } from "./model/message";
import type { Client, Connect, Listener, Status } from "./port";

const PAGE = 50;
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
  private client: Client | undefined;
  private isClosed = false;
  private readonly tabs: BroadcastChannel;
  private readonly loading = new Set<Conversation>();
  private looksAtTheEnd = false;

  constructor(
    readonly me: string,
    private readonly changed: () => void,
  ) {
    this.chats = new Chats(me);
    this.tabs = new BroadcastChannel(`cecochat page ${me}`);
    this.tabs.onmessage = ({ data }: MessageEvent<Seen>) => this.read(data.peer, data.upTo);
  }

  async start(connect: Connect): Promise<void> {
    const client = await connect(this.me, this);
    if (this.isClosed) return client.close();
    this.client = client;
    if (this.opened) void this.load(this.opened);
    await this.loadChats();
  }

  // -- what a person does

  open(peer: string | undefined): void {
    this.opened = peer === undefined || peer === this.me ? undefined : this.chats.with(peer);
    this.opened?.open();
    this.looksAtTheEnd = false; // until the view says so
    this.changed();
    if (this.opened && !this.opened.loaded) void this.load(this.opened);
  }

  /** Send a text. Returns false if nothing can take it yet: it stays where it is. */
  send(chat: Conversation, text: string): boolean {
    if (!this.client) return false;
    chat.newFrom = undefined;
    chat.say({ key: this.client.send(chat.peer, text), text, at: new Date() });
    this.keepDraft(chat, "");
    this.changed();
    return true;
  }

  retry(chat: Conversation, key: string): void {
    const text = chat.outgoing.find((each) => each.key === key)?.text;
    if (text !== undefined && this.send(chat, text)) chat.settle(key);
  }

  drop(chat: Conversation, key: string): void {
    chat.settle(key);
    this.changed();
  }

  draft(chat: Conversation): string {
    return draftOf(this.me, chat.peer);
  }

  keepDraft(chat: Conversation, text: string): void {
    keepDraft(this.me, chat.peer, text);
    this.changed();
  }

  /** Note whether a person looks at the end of the open chat, and so reads what comes. */
  looks(atTheEnd: boolean): void {
    this.looksAtTheEnd = atTheEnd;
    this.look();
  }

  close(): void {
    this.isClosed = true;
    this.tabs.close();
    this.client?.close();
  }

  // -- the history

  async loadChats(): Promise<void> {
    try {
      for (const each of (await this.client?.chats()) ?? []) {
        this.chats.summarize(each.peer, each.last, each.unread);
        const chat = this.chats.with(each.peer);
        each.holes.forEach((hole) => chat.addHole(hole));
        if (each.marks) chat.mark(each.marks);
      }
      this.chats.loaded = true;
      this.trouble = undefined;
      this.opened?.open();
      this.look();
    } catch {
      this.trouble = MISSING;
    }
    this.changed();
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
    this.changed();
    await this.loadOlder(chat);
  }

  /** Read the page before the oldest message that is known. */
  async loadOlder(chat: Conversation): Promise<void> {
    if (!this.client || chat.complete || this.loading.has(chat)) return;
    this.loading.add(chat);
    try {
      const page = await this.client.page(chat.peer, chat.loaded ? chat.oldest : undefined, PAGE);
      page.messages.forEach((each) => chat.add(each));
      if (!chat.loaded) chat.open();
      chat.loaded = true;
      chat.complete = !page.more;
      this.trouble = undefined;
    } catch {
      this.trouble = MISSING;
    } finally {
      this.loading.delete(chat);
    }
    this.changed();
  }

  // -- what the client tells

  message(peer: string, message: Message): void {
    const chat = this.chats.with(peer);
    if (!chat.add(message)) return;
    if (message.from !== this.me) {
      this.announced = `${message.from}: ${message.text ?? "a message whose content is lost"}`;
      if (!this.reads(chat) && chat.newFrom === undefined) chat.newFrom = message.id;
    }
    this.look();
    this.changed();
  }

  receipt(peer: string, marks: Marks): void {
    this.chats.with(peer).mark(marks);
    this.changed();
  }

  read(peer: string, upTo: bigint): void {
    this.chats.with(peer).read(upTo);
    this.changed();
  }

  sent(key: string, peer: string, message: Message): void {
    const chat = this.chats.with(peer);
    chat.settle(key);
    chat.add(message);
    this.changed();
  }

  rejected(key: string, peer: string, text: string, why: string): void {
    const chat = this.chats.with(peer);
    if (!chat.outgoing.some((each) => each.key === key)) chat.say({ key, text, at: new Date() });
    chat.refuse(key, why);
    this.announced = `Not sent: ${why}`;
    this.changed();
  }

  hole(peer: string | undefined, hole: Hole): void {
    const concerned = peer === undefined ? this.chats.sorted : [this.chats.with(peer)];
    concerned.forEach((chat) => chat.addHole(hole));
    this.changed();
  }

  caughtUp(): void {
    if (this.trouble || !this.chats.loaded) void this.loadChats();
    if (this.opened && !this.opened.loaded) void this.loadOlder(this.opened);
  }

  status(status: Status): void {
    this.state = status;
    this.changed();
  }

  /** Note that nothing more will come. */
  ended(why: string): void {
    this.status({ state: "closed", why });
  }

  private reads(chat: Conversation): boolean {
    const looks = document.visibilityState === "visible" && document.hasFocus();
    return chat === this.opened && looks && this.looksAtTheEnd;
  }

  /** Mark the open chat as read, if a person looks at its end. */
  look(): void {
    const chat = this.opened;
    const newest = chat?.newestOfPeer;
    if (!chat || !newest || chat.unread === 0 || !chat.loaded || !this.reads(chat)) return;
    if (!chat.read(newest.id)) return;
    if (!this.isClosed) this.tabs.postMessage({ peer: chat.peer, upTo: newest.id } satisfies Seen);
    this.client?.markRead(chat.peer, newest.id);
    this.changed();
  }
}
