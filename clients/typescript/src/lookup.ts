/** Asks the connect server where to go, with `GET /v1/connect`. */

import { checkSupplied } from "./arguments.js";
import type { Asked } from "./backoff.js";
import { ChatError, chatError, closed, notReachable } from "./errors.js";

const TIMEOUT_MS = 10_000;

export type Token = string | (() => string | Promise<string>);
export type Fetch = typeof globalThis.fetch;

/** The connect server's answer: where a user is served. */
export interface Route {
  user_id: string;
  server_id: string;
  websocket?: string;
  history_http?: string;
  valid_for_s: number;
  backoff: Asked;
}

/** Asks one connect server on behalf of one user. Its last answer is used while that is valid. */
export class Lookup {
  private route: Route | undefined;
  private validUntilMs = 0;
  private supplied = ""; // the last token that the application gave
  private revoked = ""; // the last token that a server called revoked
  private readonly closing = new AbortController();

  constructor(
    private readonly url: string,
    private readonly supply: Token,
    private readonly fetch: Fetch,
  ) {}

  /** Whether the application can supply another token. */
  get renewable(): boolean {
    return typeof this.supply === "function";
  }

  /** How long the connect server wants its clients to wait. */
  get asked(): Asked | undefined {
    return this.route?.backoff;
  }

  /** Ask the application for a token to use from now on. */
  async token(): Promise<string> {
    const token = await this.ofApplication();
    checkSupplied(token);
    this.supplied = token;
    if (token === this.revoked) {
      throw new ChatError("no_other_token", "the token has been revoked: log in again");
    }
    return token;
  }

  private async ofApplication(): Promise<string> {
    if (typeof this.supply === "string") return this.supply;
    try {
      return await this.supply();
    } catch (error) {
      if (error instanceof ChatError) throw error;
      throw notReachable(`the application gave no token: ${chatError(error, "").message}`);
    }
  }

  /** End what waits for a server, or for the application's token. */
  close(): void {
    this.closing.abort();
  }

  /** Return what `work` comes to. Throws `closed` as soon as the client is closed. */
  async unlessClosed<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.closing;
    let end = (): void => {};
    const ended = new Promise<never>((_, reject) => (end = () => reject(closed())));
    if (signal.aborted) end();
    signal.addEventListener("abort", end);
    return Promise.race([ended, work]).finally(() => signal.removeEventListener("abort", end));
  }

  /** Note how a session with `token` ended. A revoked token is not used again. */
  note(error: ChatError | undefined, token: string): void {
    if (error?.code === "token_revoked") this.revoked = token;
  }

  /** Return whether a later attempt can succeed, by itself or with another token. */
  mends(error: ChatError): boolean {
    const ended = error.code === "token_expired" || error.code === "token_revoked";
    return ended ? this.renewable : error.retriable;
  }

  /**
   * Return the route and the token for a new connection. If the connect server does not answer,
   * it is the last route, while that is valid.
   */
  async find(): Promise<[Route, string]> {
    const token = await this.token();
    try {
      this.route = await this.ask(token);
      this.validUntilMs = Date.now() + this.route.valid_for_s * 1_000;
    } catch (thrown) {
      const error = chatError(thrown, "internal");
      this.note(error, token);
      if (error.code !== "not_reachable" || !this.route || !this.isValid) throw error;
    }
    return [this.route, token];
  }

  /** Return the route and the token for a query: the last ones, unless they have to be renewed. */
  async current(): Promise<[Route, string]> {
    return this.route && this.isValid ? [this.route, this.supplied] : this.find();
  }

  private get isValid(): boolean {
    return Date.now() < this.validUntilMs;
  }

  /** Drop the last route and token, which led nowhere. The next query asks again. */
  forget(): void {
    this.validUntilMs = 0;
  }

  private async ask(token: string): Promise<Route> {
    const headers = { authorization: `Bearer ${token}` };
    const what = `the connect server at ${this.url}`;
    const url = `${this.url}/v1/connect`;
    const response = await answer(this.fetch, what, url, { headers });
    const body = await response.json().catch(() => undefined);
    if (response.ok && typeof body?.user_id === "string") return body as Route;
    const error = body?.error;
    if (!error?.code) throw notReachable(`what answers at ${this.url} is no connect server`);
    throw new ChatError(error.code, error.message, error.retriable, error.retry_after_ms);
  }
}

/** Make an HTTP request within 10 s. */
export async function answer(
  fetch: Fetch,
  what: string,
  url: string,
  init: RequestInit,
): Promise<Response> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), TIMEOUT_MS);
  try {
    const response = await fetch(url, { ...init, signal: late.signal, cache: "no-store" });
    const body = await response.arrayBuffer();
    return new Response(body, { status: response.status, headers: response.headers });
  } catch (error) {
    throw notReachable(`${what} does not answer (${chatError(error, "").message})`);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Return the user that a token names, or nothing if it cannot be read. It is not verified: it only
 * chooses what storage to open. The server says who the user is before anything is sent or shown.
 */
export function userIn(token: string): string | undefined {
  try {
    const claims = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    const { sub } = JSON.parse(atob(claims));
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}
