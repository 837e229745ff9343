/** Checks what an application passes to the client. Each throws `invalid_argument`. */

import type { PageRequest } from "./core.js";
import { invalid } from "./errors.js";

const MESSAGE_ID_MAX = 2n ** 63n - 1n;
const LIMIT_MAX = 2 ** 31 - 1;
const CLIENT_MESSAGE_ID_MAX_BYTES = 64;
const EMOJI_MAX_BYTES = 64;

/** Check a message id, or 0n. */
export function checkMessageId(name: string, value: unknown): void {
  if (typeof value !== "bigint" || value < 0n || value > MESSAGE_ID_MAX) {
    throw invalid(`${name} is ${value}: use the id of a message, a bigint`);
  }
}

/** Check what says which page of a list is wanted. */
export function checkPage({ before, after, limit }: PageRequest): void {
  if (before !== undefined && after !== undefined) throw invalid("give before or after, not both");
  if (before !== undefined) checkMessageId("before", before);
  if (after !== undefined) checkMessageId("after", after);
  if (limit === undefined || (Number.isInteger(limit) && limit > 0 && limit <= LIMIT_MAX)) return;
  throw invalid(`limit is ${limit}: use a whole number, 1 or more`);
}

/** Check a token, or see that it is a function. */
export function checkToken(token: unknown): void {
  if (typeof token === "function" || mayBeToken(token)) return;
  throw invalid("the token is empty or malformed: use the one that the user was given");
}

/** Check what the application's function returned as a token. It is not in the error. */
export function checkSupplied(token: unknown): void {
  if (mayBeToken(token)) return;
  const what =
    typeof token === "string" ? "an empty or malformed string" : `a value of type ${typeof token}`;
  throw invalid(
    `the function \`token\` returned ${what}: return the user's token, or throw while there is none`,
  );
}

function mayBeToken(token: unknown): boolean {
  return typeof token === "string" && /^[ -~]+$/.test(token);
}

export function checkText(text: unknown): void {
  if (typeof text !== "string" || !text || /\p{Surrogate}/u.test(text)) {
    throw invalid("text is empty or no string, or holds half of a surrogate pair");
  }
}

export function checkEmoji(emoji: unknown): void {
  const size = typeof emoji === "string" ? new TextEncoder().encode(emoji).length : 0;
  if (!size || size > EMOJI_MAX_BYTES) {
    throw invalid(`an emoji has to have 1 to ${EMOJI_MAX_BYTES} bytes`);
  }
}

export function checkClientMessageId(id: unknown): void {
  const size = typeof id === "string" ? new TextEncoder().encode(id).length : 0;
  if (!size || size > CLIENT_MESSAGE_ID_MAX_BYTES) {
    throw invalid(`clientMessageId has to have 1 to ${CLIENT_MESSAGE_ID_MAX_BYTES} bytes`);
  }
}
