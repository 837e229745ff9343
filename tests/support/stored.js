// What the TypeScript client has stored for one user: evaluated in a page of its origin.
async ([name]) => {
  if (!(await indexedDB.databases()).some((each) => each.name === name)) return null;
  const done = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const database = await done(indexedDB.open(name));
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
