/** Runs one WebSocket to a messaging server, from the hello to the end of the session. */

import { ClientFrameSchema, ServerFrameSchema } from "./gen/schemas.js";
import { create, fromBinary, toBinary } from "./codec.js";
import { ChatError, chatError, closed, nameOf, notReachable, refused } from "./errors.js";
import type { Gap, ServerItem } from "./gen/cecochat/v1/messaging_pb.js";
import type { LocalDevice } from "./local.js";

const WELCOME_MS = 10_000;
const BEAT_MS = 5_000;
const QUIET_MS = 20_000; // after which the server is asked for a sign of life
const SILENT_MS = 40_000; // after which it is given up, as it gives up a client
const ASLEEP_MS = 90_000; // hidden pages are woken once a minute
const UNREAD_BYTES = 16 << 20;
const LEFT = 1000;

/** The part of a WebSocket that is used here. */
export interface Socket {
  binaryType: string;
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: never }) => void) | null;
  onclose: ((event: { code: number } & never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
}

export type SocketClass = new (url: string, protocol: string) => Socket;

/**
 * Why a session ended. Without an error, this side wants a new one at once. `websocket` is where
 * the server says to go.
 */
export interface Ended {
  error?: ChatError;
  websocket?: string;
}

/** What a session calls. */
export interface Peer {
  /** Make the state durable, before a send leaves. */
  keep(): Promise<void>;
  fill(gap: Gap): Promise<void>;
  expiring(): void;
  arrived(item: ServerItem): void;
}

export class Session {
  private socket: Socket | undefined;
  private readonly frames: Uint8Array[] = [];
  private unread = 0;
  private ended: Ended | undefined;
  private onceRead: (() => void) | undefined; // says why the server has ended the stream
  private wake = (): void => {};
  private writing = false;
  private heardMs = Date.now();
  private probed = false; // since something was heard
  private welcomed = false;
  private readonly openedMs = Date.now();
  private lastBeatMs = Date.now();

  constructor(
    private readonly local: LocalDevice,
    private readonly peer: Peer,
  ) {}

  /** Serve until the session ends. */
  async run(WebSocket: SocketClass, url: string, token: string, label: string): Promise<Ended> {
    const timer = setInterval(() => this.beat(), BEAT_MS);
    try {
      this.open(WebSocket, url, this.local.hello(label, token));
      for (let frame = await this.next(); frame; frame = await this.next()) await this.read(frame);
    } catch (error) {
      this.end({ error: chatError(error, "internal", true) });
    } finally {
      clearInterval(timer);
    }
    return this.ended ?? {};
  }

  /** End the session. */
  end(ended: Ended): void {
    this.ended ??= ended;
    this.socket?.close(LEFT);
    this.wake();
  }

  private open(WebSocket: SocketClass, url: string, hello: Uint8Array): void {
    const what = `the messaging server at ${url}`;
    const socket = (this.socket = new WebSocket(url, "cecochat.v1"));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(hello as Uint8Array<ArrayBuffer>);
    socket.onmessage = ({ data }) => this.heard(new Uint8Array(data as ArrayBuffer));
    socket.onclose = ({ code }) => this.closedBy(what, code);
    socket.onerror = () => {}; // `onclose` follows
  }

  private heard(frame: Uint8Array): void {
    this.heardMs = Date.now();
    this.probed = false;
    this.frames.push(frame);
    this.unread += frame.length;
    if (this.unread > UNREAD_BYTES) this.end({}); // the next session brings it again
    this.wake();
  }

  /** Take what had arrived before, and then the reason why the server has ended the stream. */
  private closedBy(what: string, code: number): void {
    const known = code >= 4_000 && code < 5_000;
    const name = known ? nameOf(code % 500) : "not_reachable";
    const said = known ? name : `close code ${code}`;
    const retriable = !known || code < 4_500;
    const error = new ChatError(name, `${what} ended the stream (${said})`, retriable);
    this.onceRead = () => this.end({ error });
    this.wake();
  }

  private async next(): Promise<Uint8Array | undefined> {
    while (!this.ended) {
      const frame = this.frames.shift();
      if (frame) {
        this.unread -= frame.length;
        return frame;
      }
      if (this.onceRead) this.onceRead();
      else await new Promise<void>((resolve) => (this.wake = resolve));
    }
    return undefined;
  }

  private async read(bytes: Uint8Array): Promise<void> {
    for (const item of fromBinary(ServerFrameSchema, bytes).items) {
      if (this.ended) return;
      await this.take(item);
    }
  }

  private async take(item: ServerItem): Promise<void> {
    const { case: kind } = item.item;
    this.welcomed ||= kind === "welcome";
    this.peer.arrived(item);
    if (this.ended) return;
    const happening = this.local.receive(item);
    switch (happening?.kind) {
      case "gapped":
        return this.peer.fill(happening.gap);
      case "tokenExpiring":
        return this.peer.expiring();
      case "rejected": // the server takes no more sends in this session
        return this.end({});
      case "disconnected":
        return this.end({
          error: refused(happening.error),
          websocket: happening.websocket,
        });
    }
  }

  /** Write what there is to write. */
  async write(): Promise<void> {
    if (this.writing || !this.welcomed) return;
    this.writing = true;
    try {
      while (!this.ended && !this.onceRead) {
        const frame = this.local.nextFrame();
        if (!frame) break;
        if (frame.sends.length) await this.peer.keep();
        if (this.ended || this.socket?.readyState !== 1) break; // the next session writes it again
        this.socket.send(toBinary(ClientFrameSchema, frame));
      }
    } catch (error) {
      this.end({ error: chatError(error, "storage_failed") });
    } finally {
      this.writing = false;
    }
  }

  /** Every five seconds, find out if the server or the network is gone. */
  private beat(): void {
    const now = Date.now();
    const slept = now - this.lastBeatMs > ASLEEP_MS;
    this.lastBeatMs = now;
    if (slept) this.end({});
    else if (!this.welcomed && now - this.openedMs > WELCOME_MS) this.lost("no welcome in time");
    else if (this.probed && now - this.heardMs >= SILENT_MS) this.lost("it is silent");
    else if (now - this.heardMs >= QUIET_MS) this.probe();
  }

  /** Ask for a sign of life. A page does not see the pings of the server, and cannot send any. */
  private probe(): void {
    if (this.probed || !this.local.welcome?.answersProbes || this.socket?.readyState !== 1) return;
    const offset = this.local.progress.live.position?.offset ?? -1n;
    this.socket.send(
      toBinary(ClientFrameSchema, create(ClientFrameSchema, { offset, probe: true })),
    );
    this.probed = true;
  }

  private lost(why: string): void {
    this.end({ error: notReachable(`the messaging server does not answer (${why})`) });
  }

  /** End the session because the client is closed. */
  close(): void {
    this.end({ error: closed() });
  }
}
