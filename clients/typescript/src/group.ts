/** What a group is, who belongs to it, and what changes there. */

import type {
  Event,
  GroupOptions as GivenOptions,
  Membership,
} from "./gen/cecochat/v1/events_pb.js";
import type { GetGroupResponse, Member as GivenMember } from "./gen/cecochat/v1/history_pb.js";
import { timeOf } from "./ids.js";

export const ROLES = ["muted", "member", "admin", "owner"] as const;

/** What somebody is in a group. Each may do what those before it may. */
export type Role = (typeof ROLES)[number];

export interface GroupOptions {
  name: string;
  /** Only admins and the owner write. */
  isChannel: boolean;
  /** Whoever knows its id may join; otherwise only those who are invited. */
  isOpen: boolean;
  /** New members see nothing of what was said before they came. */
  hidesPast: boolean;
}

/** A group, as it is after the events up to the id `asOf`. */
export interface Group extends GroupOptions {
  chatId: string;
  /** What this user is there. Without it, the user has left, and this is as it was then. */
  role?: Role;
  asOf: bigint;
}

/** Somebody who belongs to a group, or, without a role, is only invited. */
export interface Member {
  userId: string;
  role?: Role;
  isInvited: boolean;
}

/** A page of those who belong to a group, as it is after the events up to `asOf`. */
export interface Members {
  members: Member[];
  hasMore: boolean;
  asOf: bigint;
}

/**
 * What `userId` has changed in a group: from this event on, all that is given is so. It is what the
 * change came to, so it is empty if all of it was so before.
 */
export interface GroupChange {
  kind: "membership";
  id: bigint;
  chatId: string;
  userId: string;
  sentAt: Date;
  /** They are members now. */
  added: string[];
  /** They left or had to go, or are no longer invited. */
  removed: string[];
  invited: string[];
  /** Members who have another role now. */
  appointed: { userId: string; role: Role }[];
  /** They cannot come back until that is lifted. */
  banned: string[];
  unbanned: string[];
  /** All options, if any of them has changed. */
  options?: GroupOptions;
  clientMessageId: string;
  /** Set if this client has sent it: it is what was asked for, and the history has what it came to. */
  isAsked?: true;
}

export function optionsOf(given: GivenOptions | undefined): GroupOptions {
  const { name = "", isChannel = false, isOpen = false, hidesPast = false } = given ?? {};
  return { name, isChannel, isOpen, hidesPast };
}

/** Convert a role. One that only later versions know counts as the nearest that is less. */
function roleOf(role: number): Role | undefined {
  if (!role) return undefined;
  return role < 0 ? "muted" : (ROLES[role] ?? "member");
}

export function roleNumber(role: Role): number {
  return ROLES.indexOf(role) || -1;
}

/** What somebody is, as a part of an object; empty if nothing. */
export function withRole(given: number): { role?: Role } {
  const role = roleOf(given);
  return role ? { role } : {};
}

export function groupChangeOf(
  { id, chatId, userId, clientMessageId }: Event,
  change: Membership,
): GroupChange {
  const { addedIds, removedIds, invitedIds, bannedIds, unbannedIds, appointments, options } =
    change;
  return {
    kind: "membership",
    id,
    chatId,
    userId,
    sentAt: timeOf(id),
    added: addedIds,
    removed: removedIds,
    invited: invitedIds,
    appointed: appointments.map(({ userId, role }) => ({ userId, role: roleOf(role) ?? "member" })),
    banned: bannedIds,
    unbanned: unbannedIds,
    ...(options && { options: optionsOf(options) }),
    clientMessageId,
  };
}

export function groupOf(chatId: string, { options, role, asOf }: GetGroupResponse): Group {
  return { chatId, ...optionsOf(options), ...withRole(role), asOf };
}

export function memberOf({ userId, role, isInvited }: GivenMember): Member {
  return { userId, ...withRole(role), isInvited };
}
