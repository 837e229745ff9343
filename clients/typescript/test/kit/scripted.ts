/** The server's side of a case, as the client sees it: WebSockets, and HTTP. */

import { fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { ErrorSchema } from "../../src/gen/cecochat/v1/errors_pb.js";
import {
  GetChatsRequestSchema,
  GetChatsResponseSchema,
  GetMessagesRequestSchema,
  GetMessagesResponseSchema,
} from "../../src/gen/cecochat/v1/history_pb.js";
import type { Socket } from "../../src/session.js";
import type { Json, Query } from "./case.js";

export const URL_OF_LOOKUP = "wss://messaging.example/v1/chat";
const HISTORY = "https://history.example";
const LOST = 1006;

/** A WebSocket. What the client writes is kept in `frames`. */
export class ScriptedSocket implements Socket {
  binaryType = "";
  readyState = 0;
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  onerror: Socket["onerror"] = null;
  readonly frames: Uint8Array[] = [];

  constructor(readonly url: string) {}

  open(): void {
    this.readyState = 1;
    this.onopen?.(undefined as never);
  }

  say(frame: Uint8Array): void {
    this.onmessage?.({ data: Uint8Array.from(frame).buffer as never });
  }

  /** Close it from the side of the server. Without a code, the connection is lost. */
  end(code = LOST): void {
    this.readyState = 3;
    this.onclose?.({ code } as never);
  }

  send(data: Uint8Array): void {
    this.frames.push(data);
  }

  close(): void {
    this.readyState = 3;
  }
}

/** Answers the lookup, and the queries of one step; it notes which were made. */
export class ScriptedHttp {
  queries: Query[] = [];
  /** The keys of the queries that were made. One that fails is repeated, and is here once. */
  readonly asked: string[] = [];

  constructor(private readonly userId: string) {}

  readonly fetch = async (url: unknown, init: RequestInit = {}): Promise<Response> => {
    if (!`${url}`.startsWith(HISTORY)) return Response.json(this.route());
    const body = init.body as Uint8Array;
    return `${url}`.endsWith("/GetChats") ? this.chats(body) : this.messages(body);
  };

  private route(): Json {
    return {
      user_id: this.userId,
      server_id: "messaging-1",
      websocket: URL_OF_LOOKUP,
      history_http: HISTORY,
      valid_for_s: 3_600,
      backoff: { base_s: 0.1, max_s: 5 },
    };
  }

  private chats(body: Uint8Array): Response {
    const { limit, ...request } = fromBinary(GetChatsRequestSchema, body);
    const getChats = toJson(GetChatsRequestSchema, { ...request, limit: 0 }) as Json;
    return this.answer({ getChats }, (answer) =>
      toBinary(GetChatsResponseSchema, fromJson(GetChatsResponseSchema, answer)),
    );
  }

  private messages(body: Uint8Array): Response {
    const { limit, withChanges, ...request } = fromBinary(GetMessagesRequestSchema, body);
    const isSaid = this.queries.some((each) => each.getMessages?.withChanges); // else it is free
    const asked = { ...request, limit: 0, withChanges: withChanges && isSaid };
    const getMessages = toJson(GetMessagesRequestSchema, asked) as Json;
    return this.answer({ getMessages }, (answer) =>
      toBinary(GetMessagesResponseSchema, fromJson(GetMessagesResponseSchema, answer)),
    );
  }

  private answer(query: Query, written: (answer: Json) => Uint8Array<ArrayBuffer>): Response {
    const key = keyOf(query);
    const found = this.queries.find((each) => keyOf(each) === key);
    if (!found?.error || !this.asked.includes(key)) this.asked.push(key);
    if (!found) return failed({ code: "ERROR_CODE_INTERNAL", message: "not in the case" });
    if (found.error) return failed(found.error);
    const headers = { "content-type": "application/proto" };
    return new Response(written(found.answer ?? {}), { headers });
  }
}

/** Return what is the same for the same query, whatever the order of its keys. */
export function keyOf({ getChats, getMessages }: Query): string {
  return JSON.stringify(sorted({ getChats, getMessages }));
}

function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, each]) => [key, sorted(each)]));
}

function failed(error: Json): Response {
  const bytes = toBinary(ErrorSchema, fromJson(ErrorSchema, error));
  const details = [{ type: "cecochat.v1.Error", value: Buffer.from(bytes).toString("base64") }];
  return Response.json({ code: "unavailable", message: error.message, details }, { status: 503 });
}
