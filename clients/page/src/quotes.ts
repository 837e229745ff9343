import type { Conversation } from "./model/conversation";
import type { Client } from "./port";

/** Read the older messages that those of a chat answer, one by one. */
export async function loadQuoted(chat: Conversation, client: Client, redraw: () => void): Promise<void> {
  for (const id of chat.unknownQuotes) {
    if (chat.quoted.has(id)) continue;
    chat.quoted.set(id, undefined);
    try {
      const page = await client.page(chat.peer, id + 1n, 1);
      const found = page.messages[0];
      if (found?.id === id) chat.quoted.set(id, found);
    } catch {
      chat.quoted.delete(id); // the next page asks again
    }
    redraw();
  }
}
