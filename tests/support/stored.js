// What the chat page has stored for one user of one system: evaluated there.
async ([url, user]) => {
  const isOurs = ({ name }) => name.startsWith(`cecochat ${url} `) && name.endsWith(` ${user}`);
  const found = (await indexedDB.databases()).find(isOurs);
  if (!found) return null;
  const done = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const database = await done(indexedDB.open(found.name));
  try {
    const transaction = database.transaction(["device", "messages"]);
    const device = done(transaction.objectStore("device").get("device"));
    const messages = done(transaction.objectStore("messages").getAll());
    return {
      waiting: ((await device)?.outbox ?? []).filter((send) => send.message).map((send) => send.message.text),
      messages: (await messages).map(({ id, userId, chatId, text }) => [String(id), userId, chatId, text]),
    };
  } finally {
    database.close();
  }
}
