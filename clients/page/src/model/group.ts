/** What the page knows of a group, and what it says of changes there. */

export type Role = "muted" | "member" | "admin" | "owner";

export interface Group {
  readonly name: string;
  /** Only admins and the owner write. */
  readonly isChannel: boolean;
  /** What this user is there; undefined: no member, or no more. */
  readonly role?: Role | undefined;
}

export interface Member {
  readonly userId: string;
  readonly role?: Role | undefined;
}

interface Options {
  readonly name: string;
  readonly isChannel?: boolean;
  readonly isOpen?: boolean;
  readonly hidesPast?: boolean;
}

export interface GroupChange {
  readonly userId: string;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly invited: readonly string[];
  readonly banned: readonly string[];
  readonly unbanned: readonly string[];
  readonly appointed: readonly { readonly userId: string; readonly role: Role }[];
  readonly options?: Options;
}

const RANKS: readonly Role[] = ["muted", "member", "admin", "owner"];

/** Which role it takes at least to do what. The server holds it: `docs/how-to/groups.md`. */
const LEAST_ROLE = {
  write: "member",
  leave: "muted",
  moderate: "admin",
  add: "admin",
  invite: "admin",
  remove: "admin", // of those with a lower role than one's own
  rename: "admin",
  appoint: "owner",
} as const;
const IN_CHANNELS = { ...LEAST_ROLE, write: "admin" } as const;

export type Act = keyof typeof LEAST_ROLE;

/** Whether this user may do that in a group. */
export function may(group: Group | undefined, act: Act): boolean {
  const least = (group?.isChannel ? IN_CHANNELS : LEAST_ROLE)[act];
  return rank(group?.role) >= rank(least);
}

/** Whether this user may remove somebody with that role, or none: who is only invited. */
export function mayRemove(group: Group | undefined, theirs: Role | undefined): boolean {
  return may(group, "remove") && rank(theirs) < rank(group?.role);
}

function rank(role: Role | undefined): number {
  return role === undefined ? -1 : RANKS.indexOf(role);
}

const NAMED_MAX = 5;
const ROLES: Record<Role, string> = {
  owner: "the owner",
  admin: "an admin",
  member: "a plain member",
  muted: "muted",
};

/** Return what somebody has changed, as a sentence without its end; empty if it is nothing. */
export function inWords(change: GroupChange): string {
  const done = doneIn(change);
  return done.length ? `${change.userId} ${listed(done)}` : "";
}

function doneIn(change: GroupChange): string[] {
  const { userId, added, removed, invited, banned, unbanned, appointed, options } = change;
  const came = added.filter((user) => user !== userId);
  const went = removed.filter((user) => user !== userId && !banned.includes(user));
  const [hasCome, hasGone] = [added.includes(userId), removed.includes(userId)];
  const isFirst = hasCome && options;
  const done: string[] = [];
  if (isFirst) done.push(`created ${optionsText(options)}${came.length ? ` with ${some(came)}` : ""}`);
  else if (hasCome) done.push("joined");
  else if (came.length) done.push(`added ${some(came)}`);
  if (banned.length) done.push(`banned ${some(banned)}`);
  if (unbanned.length) done.push(`lifted the ban of ${some(unbanned)}`);
  if (went.length) done.push(`removed ${some(went)}`);
  if (invited.length) done.push(`invited ${some(invited)}`);
  if (options && !isFirst) done.push(`changed the group to ${optionsText(options)}`);
  if (hasGone) done.push("left");
  const others = isFirst ? [] : appointed.filter((each) => each.userId !== userId);
  return [...done, ...others.map((each) => `made ${each.userId} ${ROLES[each.role]}`)];
}

/** What a group is called, and what holds there that is not usual. */
function optionsText({ name, isChannel, isOpen, hidesPast }: Options): string {
  const notes = [isChannel && "only admins write", isOpen && "open to all", hidesPast && "past hidden from new members"];
  const held = notes.filter(Boolean).join(", ");
  return `“${name}”${held && ` (${held})`}`;
}

/** Of many names, how many there are. */
function some(names: readonly string[]): string {
  if (names.length <= NAMED_MAX) return listed(names);
  return listed([...names.slice(0, NAMED_MAX - 1), `${names.length - NAMED_MAX + 1} more`]);
}

function listed(parts: readonly string[]): string {
  return parts.length > 1 ? `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}` : `${parts[0]}`;
}
