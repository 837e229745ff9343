/** A server that is the test: it answers the lookup, and says what it is told to. */

import { setTimeout as sleep } from "node:timers/promises";
import { type Client, connect } from "../src/index.js";
import { create, fromBinary, toBinary } from "../src/codec.js";
import type { ClientFrame, ServerItem } from "../src/gen/cecochat/v1/messaging_pb.js";
import { ClientFrameSchema, ServerFrameSchema } from "../src/gen/schemas.js";
import type { Socket } from "../src/session.js";
import { type Storage, memory } from "../src/storage.js";

export class Faker {
  readonly sockets: FakeSocket[] = [];
  /** The queries that were made. */
  readonly queried: Uint8Array[] = [];
  route: object = {};
  token: () => string | Promise<string> = () => `.${btoa('{"sub":"alice"}')}.`;
  /** What it answers to a query. */
  query = (): Response => new Response(null, { status: 503 });
  /** What it says to a frame. */
  says: (frame: ClientFrame, session: number) => ServerItem[] = () => [];

  connect(storage: Storage = memory()): Promise<Client> {
    const faker = this;
    class Connected extends FakeSocket {
      constructor() {
        super(faker);
      }
    }
    return connect({
      url: "http://fake",
      token: this.token,
      userId: "alice",
      storage,
      WebSocket: Connected,
      fetch: (async (at: string, { body }: { body?: Uint8Array } = {}) =>
        this.fetched(at, body)) as never,
    });
  }

  private fetched(at: string, body: Uint8Array = new Uint8Array()): Response {
    if (!at.endsWith("/v1/connect")) {
      this.queried.push(body);
      return this.query();
    }
    return Response.json({
      user_id: "alice",
      server_id: "m1",
      websocket: "ws://m1",
      history_http: "http://h1",
      valid_for_s: 60,
      backoff: { base_s: 0, max_s: 0 },
      ...this.route,
    });
  }
}

export class FakeSocket implements Socket {
  binaryType = "";
  readyState = 1;
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  onerror: Socket["onerror"] = null;
  private readonly session: number;

  constructor(private readonly faker: Faker) {
    this.session = faker.sockets.push(this);
    queueMicrotask(() => this.onopen?.(undefined as never));
  }

  send(data: Uint8Array): void {
    const items = this.faker.says(fromBinary(ClientFrameSchema, data), this.session);
    if (items.length) queueMicrotask(() => this.say(items));
  }

  say(items: ServerItem[]): void {
    const frame = toBinary(ServerFrameSchema, create(ServerFrameSchema, { items }));
    this.onmessage?.({ data: frame.buffer as never });
  }

  close(): void {
    this.readyState = 3;
  }
}

/** Wait until something holds. The test runner ends a test for which it never does. */
export async function until(holds: () => unknown): Promise<void> {
  while (!(await holds())) await sleep(5);
}
