/** Queries to the history server, as unary calls of the Connect protocol over plain HTTP. */

import {
  ErrorSchema,
  GetChatsRequestSchema,
  GetChatsResponseSchema,
  GetGroupRequestSchema,
  GetGroupResponseSchema,
  GetMessagesRequestSchema,
  GetMessagesResponseSchema,
  ListMembersRequestSchema,
  ListMembersResponseSchema,
  SearchMessagesRequestSchema,
  SearchMessagesResponseSchema,
} from "./gen/schemas.js";
import type { Message } from "@bufbuild/protobuf";
import { type Init, type Schema, create, fromBinary, toBinary } from "./codec.js";
import { waitMs } from "./backoff.js";
import { ChatError, chatError, notReachable, refused } from "./errors.js";
import type {
  GetChatsRequest,
  GetChatsResponse,
  GetGroupRequest,
  GetGroupResponse,
  GetMessagesRequest,
  GetMessagesResponse,
  ListMembersRequest,
  ListMembersResponse,
  SearchMessagesRequest,
  SearchMessagesResponse,
} from "./gen/cecochat/v1/history_pb.js";
import type { ReadToken } from "./gen/cecochat/v1/messaging_pb.js";
import { type Fetch, type Lookup, answer } from "./lookup.js";

const GIVE_UP_MS = 20_000;
const PROTO = "application/proto";

/**
 * Calls `cecochat.v1.History`. Each call has a deadline of 10 s, and is repeated for up to 20 s while
 * its error is retriable.
 */
export class Queries {
  constructor(
    private readonly lookup: Lookup,
    private readonly fetch: Fetch,
  ) {}

  /** Return a page. If it says that there is more, it leads on in the direction asked for. */
  async messages(request: Init<GetMessagesRequest>): Promise<GetMessagesResponse> {
    const body = toBinary(GetMessagesRequestSchema, create(GetMessagesRequestSchema, request));
    const page = await this.call("GetMessages", body, GetMessagesResponseSchema);
    const { messages, hasMore } = page;
    const { case: bound, value: from = 0n } = request.bound ?? {};
    const [first, last] = [messages[0]?.id ?? from, messages.at(-1)?.id ?? from];
    const isNew = bound === "before" ? first < from : last > from;
    if (hasMore && !isNew) throw nothingNew(`of ${request.chatId}`);
    return page;
  }

  /** Return a page. If it says that there is more, it leads on in the list. */
  async chats(request: Init<GetChatsRequest>): Promise<GetChatsResponse> {
    const body = toBinary(GetChatsRequestSchema, create(GetChatsRequestSchema, request));
    const page = await this.call("GetChats", body, GetChatsResponseSchema);
    const { afterChatId, before } = request;
    const last = page.chats.at(-1);
    const id = last?.lastMessage?.id ?? 0n;
    const isNew =
      afterChatId !== undefined
        ? (last?.chatId ?? "") > afterChatId
        : id && (!before || id < before);
    if (page.hasMore && !isNew) throw nothingNew("of the list of chats");
    return page;
  }

  /** Return what a group is. */
  group(request: Init<GetGroupRequest>): Promise<GetGroupResponse> {
    const body = toBinary(GetGroupRequestSchema, create(GetGroupRequestSchema, request));
    return this.call("GetGroup", body, GetGroupResponseSchema);
  }

  /** Return a page of the members of a group. If it says that there is more, it leads on. */
  async members(request: Init<ListMembersRequest>): Promise<ListMembersResponse> {
    const body = toBinary(ListMembersRequestSchema, create(ListMembersRequestSchema, request));
    const page = await this.call("ListMembers", body, ListMembersResponseSchema);
    const last = page.members.at(-1)?.userId ?? "";
    if (page.hasMore && last <= (request.afterUserId ?? "")) throw nothingNew("of members");
    return page;
  }

  /** Return a page of what was found. If it says that there is more, it leads on. */
  async search(request: Init<SearchMessagesRequest>): Promise<SearchMessagesResponse> {
    const schema = SearchMessagesRequestSchema;
    const body = toBinary(schema, create(schema, request));
    const page = await this.call("SearchMessages", body, SearchMessagesResponseSchema);
    const last = page.messages.at(-1)?.id;
    const isNew = last && (!request.before || last < request.before);
    if (page.hasMore && !isNew) throw nothingNew("of what was found");
    return page;
  }

  /** Make a call by its name. */
  ask<Q extends Message, A extends Message>(
    name: string,
    asked: Schema<Q>,
    answered: Schema<A>,
    request: Init<Q>,
  ): Promise<A> {
    return this.call(name, toBinary(asked, create(asked, request)), answered);
  }

  /** Yield the pages of all chats in the order of their ids, so that none is missed. */
  async *chatsById(token: ReadToken): AsyncGenerator<GetChatsResponse> {
    for (let afterChatId = "", more = true; more;) {
      const page = await this.chats({ afterChatId, token });
      yield page;
      more = page.hasMore;
      afterChatId = page.chats.at(-1)?.chatId ?? afterChatId;
    }
  }

  /** Yield the pages of a chat above a message id, with changes of messages, oldest first. */
  async *pagesAfter(
    chatId: string,
    after: bigint,
    token: ReadToken,
  ): AsyncGenerator<GetMessagesResponse> {
    for (let more = true; more;) {
      const page = await this.messages({
        chatId,
        bound: { case: "after", value: after },
        token,
        withChanges: true,
      });
      yield page;
      more = page.hasMore;
      after = page.messages.at(-1)?.id ?? after;
    }
  }

  /** Make a call of `cecochat.v1.Attachments` at a connect server, and return its answer as it is. */
  attachments(
    url: string,
    name: string,
    body: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer>> {
    return this.again(async () => {
      const [, token] = await this.lookup.current();
      return this.post(`the connect server at ${url}`, url, `Attachments/${name}`, body, token);
    });
  }

  private call<T extends Message>(
    name: string,
    body: Uint8Array<ArrayBuffer>,
    response: Schema<T>,
  ): Promise<T> {
    return this.again(() => this.once(name, body, response));
  }

  private async again<T>(once: () => Promise<T>): Promise<T> {
    const giveUpMs = Date.now() + GIVE_UP_MS;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.lookup.unlessClosed(once());
      } catch (thrown) {
        const error = chatError(thrown, "internal");
        const wait = waitMs(attempt, Math.random(), { atLeastMs: error.retryAfterMs });
        if (!this.lookup.mends(error) || Date.now() + wait > giveUpMs) throw error;
        if (error.code !== "behind") this.lookup.forget();
        await this.lookup.unlessClosed(new Promise((resolve) => setTimeout(resolve, wait)));
      }
    }
  }

  private async once<T extends Message>(
    name: string,
    body: Uint8Array<ArrayBuffer>,
    schema: Schema<T>,
  ): Promise<T> {
    const [route, token] = await this.lookup.current();
    const at = route.history_http;
    if (!at) throw new ChatError("unavailable", "no history server is live just now", true);
    const what = `the history server at ${at}`;
    const bytes = await this.post(what, at, `History/${name}`, body, token);
    const read = readable(() => fromBinary(schema, bytes));
    if (!read) throw stranger(what);
    return read;
  }

  private async post(
    what: string,
    at: string,
    call: string,
    body: Uint8Array<ArrayBuffer>,
    token: string,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const url = `${at.replace(/\/$/, "")}/cecochat.v1.${call}`;
    const headers = {
      authorization: `Bearer ${token}`,
      "connect-protocol-version": "1",
      "content-type": PROTO,
    };
    const response = await answer(this.fetch, what, url, { method: "POST", headers, body });
    if (!response.ok) throw await failure(what, response);
    const type = response.headers.get("content-type") ?? "";
    if (!type.startsWith(PROTO)) throw stranger(what);
    return new Uint8Array(await response.arrayBuffer());
  }
}

function stranger(what: string): ChatError {
  return notReachable(`what answers is not ${what}`);
}

/** It must not pass for the end: what a gap lacks would never be asked for again. */
function nothingNew(where: string): ChatError {
  return notReachable(
    `a page ${where} says that there is more, and brings nothing new: the history server is at fault, so tell its operator, and try again`,
  );
}

/** Return the error of a failed call: its details hold a `cecochat.v1.Error`. */
async function failure(what: string, response: Response): Promise<ChatError> {
  const body = await response.json().catch(() => undefined);
  const error = readable(() => {
    const details: { type: string; value: string }[] = body.details;
    const { value } = details.find(({ type }) => type === ErrorSchema[0])!;
    const bytes = Uint8Array.from(atob(value), (character) => character.charCodeAt(0));
    return fromBinary(ErrorSchema, bytes);
  });
  if (error) return refused(error);
  return notReachable(`${what} answered ${response.status} ${body?.message ?? ""}`);
}

/** Return what was read, or nothing if it is malformed, such as the page of a captive portal. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
