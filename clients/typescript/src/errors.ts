/** The errors of the client. All have a stable code, and a message that says what to do. */

import type { Error as ServerError } from "./gen/cecochat/v1/errors_pb.js";
import { ErrorCode } from "./gen/cecochat/v1/errors_pb.js";

/** An error as plain data, which can go from one tab to another. */
export interface ErrorData {
  code: string;
  message: string;
  retriable: boolean;
  retryAfterMs: number;
  clientMessageId?: string;
  replacement?: string;
}

/** Base of all errors of the client. */
export class ChatError extends Error implements ErrorData {
  override name = "ChatError";

  constructor(
    /** A name that never changes its meaning, such as `unauthenticated` or `rate_limited`. */
    readonly code: string,
    message: string,
    /** Whether the same call may succeed later. */
    readonly retriable = false,
    /** How long to wait before that; 0 if the server does not say. */
    readonly retryAfterMs = 0,
  ) {
    super(message);
  }
}

/** The server rejected this send, and would reject it again unless it changes. */
export class SendRejected extends ChatError {
  override name = "SendRejected";

  constructor(
    readonly clientMessageId: string,
    code: string,
    message: string,
    /** The text that the application wants to be sent instead, as a new message; usually empty. */
    readonly replacement = "",
  ) {
    super(code, message);
  }
}

/** No server answered, or what answered is not a CecoChat server. */
export function notReachable(message: string): ChatError {
  return new ChatError("not_reachable", message, true);
}

/** An argument is wrong, and the same call will never succeed. */
export function invalid(message: string): ChatError {
  return new ChatError("invalid_argument", message);
}

/** What is stored, or is to be stored, cannot be used. `mend` says what to do. */
export function unusable(what: string, thrown: unknown, mend: string): ChatError {
  if (thrown instanceof ChatError) return thrown;
  const why = chatError(thrown, "").message;
  return new ChatError("storage_failed", `${what} cannot be used (${why}): ${mend}`);
}

export function closed(): ChatError {
  return new ChatError("closed", "the client is closed: connect again");
}

/** Return `rate_limited` for RATE_LIMITED, and the number of an unknown code. */
export function nameOf(code: number): string {
  return (ErrorCode[code] ?? `${code}`).toLowerCase();
}

/** Return the error for a typed error that a server sent. */
export function refused(error: ServerError | undefined): ChatError {
  if (!error) return new ChatError("unspecified", "the server did not say why");
  const { code, message, retriable, retryAfterMs } = error;
  return new ChatError(nameOf(code), message, retriable, Number(retryAfterMs));
}

export function rejected(clientMessageId: string, error: ServerError | undefined): SendRejected {
  const { code, message } = refused(error);
  return new SendRejected(clientMessageId, code, message, error?.replacement);
}

/** An unanswered send has this id, and other content: a server would refuse this one. */
export function reusedId(clientMessageId: string): SendRejected {
  const message = `${clientMessageId} is queued with other content: use a new id for a new message`;
  return new SendRejected(clientMessageId, "reused_id", message);
}

/** Return a `ChatError` for whatever was thrown. */
export function chatError(thrown: unknown, code: string, retriable = false): ChatError {
  if (thrown instanceof ChatError) return thrown;
  const message = thrown instanceof Error ? thrown.message : `${thrown}`;
  const error = new ChatError(code, message, retriable);
  error.cause = thrown;
  return error;
}

/** Return what tells another tab about an error, and back. */
export function toData(error: ChatError): ErrorData {
  const { code, message, retriable, retryAfterMs } = error;
  const data = { code, message, retriable, retryAfterMs };
  if (!(error instanceof SendRejected)) return data;
  const { clientMessageId, replacement } = error;
  return { ...data, clientMessageId, replacement };
}

export function fromData(data: ErrorData): ChatError {
  return data.clientMessageId
    ? new SendRejected(data.clientMessageId, data.code, data.message, data.replacement)
    : new ChatError(data.code, data.message, data.retriable, data.retryAfterMs);
}
