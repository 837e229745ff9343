/** User ids, chat ids and message ids, as `docs/reference/protocol.md` names them. */

const EPOCH_MS = 1_577_836_800_000; // 2020-01-01T00:00:00Z, in ms since 1970
const USER_ID = /^(?=.{1,64}$)(?:[a-z0-9][a-z0-9-]{0,19}\/)?[A-Za-z0-9._:@+-]+$/;

/** Return the partition of the sender that a message id names. */
export function partitionIn(id: bigint): number {
  return Number((id >> 10n) & 0xfffn);
}

/** Return when a message was accepted. */
export function timeOf(id: bigint): Date {
  return new Date(Number(id >> 22n) + EPOCH_MS);
}

export function isUserId(text: unknown): text is string {
  return typeof text === "string" && USER_ID.test(text);
}

/** Return the app of a user id: what comes before its `/`, or nothing. */
export function appOf(userId: string): string {
  return userId.slice(0, Math.max(0, userId.indexOf("/")));
}

export function isGroup(chatId: string): boolean {
  return chatId.startsWith("g:");
}

/** Return the two users of a dialog. */
export function participants(chatId: string): string[] {
  return chatId.slice(2).split("~", 2);
}

/**
 * Return the id of a chat that is named by its id, or by the user that `me` chats with; undefined
 * if it is neither.
 */
export function chatOf(me: string, chat: string): string | undefined {
  if (isGroup(chat) && isUserId(chat.slice(2))) return chat;
  const named = chat.startsWith("d:") && chat.includes("~");
  const users = named ? participants(chat) : [me, chat].sort();
  const id = `d:${users.join("~")}`;
  const valid = users.every(isUserId) && users[0]! < users[1]!;
  const [first, second] = users.map(appOf);
  return valid && first === second && (!named || id === chat) ? id : undefined;
}

const M = 0x5bd1e995;

/**
 * Return the partition of a user, from 0 to below `count`. It is MurmurHash2 with Kafka's seed
 * (Appleby 2008; Kafka's `Utils.murmur2`).
 */
export function partitionOf(userId: string, count: number): number {
  const data = new TextEncoder().encode(userId);
  let h = 0x9747b28c ^ data.length;
  const body = data.length & ~3;
  for (let at = 0; at < body; at += 4) {
    let k = data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24);
    k = Math.imul(k, M);
    k = Math.imul(k ^ (k >>> 24), M);
    h = Math.imul(h, M) ^ k;
  }
  if (body < data.length) {
    for (let at = data.length - 1; at >= body; at--) h ^= data[at]! << ((at - body) * 8);
    h = Math.imul(h, M);
  }
  h = Math.imul(h ^ (h >>> 13), M);
  return ((h ^ (h >>> 15)) & 0x7fffffff) % count;
}
