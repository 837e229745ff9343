/** Checks what an application passes to the client. Each throws `invalid_argument`. */

import type { PageRequest } from "./backend.js";
import { invalid } from "./errors.js";
import { type GroupOptions, ROLES, type Role } from "./group.js";
import { isGroup, isUserId } from "./ids.js";

const MESSAGE_ID_MAX = 2n ** 63n - 1n;
const LIMIT_MAX = 2 ** 31 - 1;
const CLIENT_MESSAGE_ID_MAX_BYTES = 64;
const EMOJI_MAX_BYTES = 64;
const NAME_MAX = 128;

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

/** Return the chat id of a group that is given. */
export function checkGroup(chat: unknown): string {
  const isOne = typeof chat === "string" && isGroup(chat) && isUserId(chat.slice(2));
  if (!isOne) throw invalid(`${JSON.stringify(chat)} is no group: use g: and its id`);
  return chat;
}

/** Return users that are given, of whom there have to be some. */
export function peopleIn(users: readonly string[], min = 1): string[] {
  const people = typeof users === "string" ? [users] : [...users];
  if (people.length < min) throw invalid("nobody is named: give at least one user id");
  const wrong = people.find((each) => !isUserId(each));
  if (wrong !== undefined) throw invalid(`${JSON.stringify(wrong)} is no user id`);
  return people;
}

export function checkRole(role: unknown): void {
  if (!ROLES.includes(role as Role)) throw invalid(`${role} is no role: use ${ROLES.join(", ")}`);
}

/** Check those options of a group that are given. */
export function checkOptions({ name, ...switches }: Partial<GroupOptions>): void {
  const isNamed = typeof name === "string" && name.trim() && [...name].length <= NAME_MAX;
  if (name !== undefined && !isNamed) {
    throw invalid(`a group has a name of 1 to ${NAME_MAX} characters`);
  }
  for (const [option, value] of Object.entries(switches)) {
    if (typeof value !== "boolean") throw invalid(`${option} is ${value}: use true or false`);
  }
}

export function checkClientMessageId(id: unknown): void {
  const size = typeof id === "string" ? new TextEncoder().encode(id).length : 0;
  if (!size || size > CLIENT_MESSAGE_ID_MAX_BYTES) {
    throw invalid(`clientMessageId has to have 1 to ${CLIENT_MESSAGE_ID_MAX_BYTES} bytes`);
  }
}
