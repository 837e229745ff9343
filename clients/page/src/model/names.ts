/** User ids and chat ids, as `docs/reference/protocol.md` names them. */

const USER_ID = /^(?=.{1,64}$)(?:[a-z0-9][a-z0-9-]{0,19}\/)?[A-Za-z0-9._:@+-]+$/;
const HUES = 8;

export function isUser(text: string): boolean {
  return USER_ID.test(text);
}

export function isGroup(peer: string): boolean {
  return peer.startsWith("g:");
}

/** Return the other user of a dialog or the id of a group, or undefined if the chat is none of this user. */
export function peerOf(me: string, chatId: string): string | undefined {
  if (isGroup(chatId)) return chatId;
  const users = chatId.startsWith("d:") ? chatId.slice(2).split("~") : [];
  return users.includes(me) ? users.find((each) => each !== me) : undefined;
}

/** Return which of the page's colours a user has. */
export function hueOf(user: string): number {
  let sum = 0;
  for (const letter of user) sum = (sum * 31 + letter.codePointAt(0)!) % 65_521;
  return sum % HUES;
}
