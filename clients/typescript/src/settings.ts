/** How a user wants to have a chat: muted, archived, pinned or accepted. */

import { type Init, create } from "./codec.js";
import { invalid } from "./errors.js";
import type { ChatSettings as GivenSettings, Event } from "./gen/cecochat/v1/events_pb.js";
import type { Chat } from "./gen/cecochat/v1/history_pb.js";
import { EventSchema } from "./gen/schemas.js";

/** A time until which a chat is muted that never comes. */
export const FOR_GOOD = new Date("9999-12-31T23:59:59Z");

/**
 * How a user wants to have a chat. Nobody else learns of it. What it means that a chat is muted,
 * archived or pinned is up to the application: messages come as ever. `accepted` has the other user
 * of a dialog go on writing although there is no answer, where the system bounds that.
 */
export interface ChatSettings {
  mutedUntil?: Date;
  archived: boolean;
  pinned: boolean;
  accepted: boolean;
}

/**
 * The user has set, on any of their devices, how they want to have a chat. Of several, the one with
 * the highest id counts.
 */
export interface SettingsChanged {
  id: bigint;
  chatId: string;
  settings: ChatSettings;
  /** Set if this device has sent it: it is accepted now. */
  clientMessageId?: string;
}

export function settingsOf(given: GivenSettings | undefined): ChatSettings {
  const { mutedUntilMs = 0n, archived = false, pinned = false, accepted = false } = given ?? {};
  const ms = Math.min(Number(mutedUntilMs), FOR_GOOD.getTime());
  return { ...(ms && { mutedUntil: new Date(ms) }), archived, pinned, accepted };
}

/** Convert an event that sets something; undefined if it does not. */
export function settingsChangedOf({
  id,
  chatId,
  body,
}: Pick<Event, "id" | "chatId" | "body">): SettingsChanged | undefined {
  return body.case === "settings" ? { id, chatId, settings: settingsOf(body.value) } : undefined;
}

/** Return the event that gave a chat its settings, as far as a list of chats has it. */
export function settingsIn(
  { chatId, settingsId, settings }: Chat,
  userId: string,
): Event | undefined {
  if (!settingsId) return undefined;
  const body = { case: "settings", value: settings ?? {} } as const;
  return create(EventSchema, { id: settingsId, chatId, userId, body });
}

/** Return what is sent. Throws `invalid_argument`. */
export function settingsFrom(given: Partial<ChatSettings>): Init<GivenSettings> {
  const { mutedUntil, archived = false, pinned = false, accepted = false } = given;
  const ms = mutedUntil === undefined ? 0 : mutedUntil instanceof Date ? mutedUntil.getTime() : NaN;
  if (Number.isNaN(ms)) throw invalid(`mutedUntil is ${mutedUntil}: use a Date`);
  for (const [name, value] of Object.entries({ archived, pinned, accepted })) {
    if (typeof value !== "boolean") throw invalid(`${name} is ${value}: use true or false`);
  }
  return { mutedUntilMs: BigInt(Math.max(ms, 0)), archived, pinned, accepted };
}
