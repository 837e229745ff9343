// Applications for the tests of faults: they take commands, and say what they show (tests/support/apps.py).

/**
 * Return what takes commands. `storage(app)` is where an application keeps its device, `say` takes what happens.
 */
export function applications({ connect, storage, say, ...transport }) {
  const clients = new Map();

  async function open(app, { url, token, chats }) {
    const tell = (is, what = {}) => say({ app, is, ...what });
    const queued = (key) => tell("queued", { key });
    const client = await connect({
      url,
      token,
      device: app,
      storage: storage(app, queued),
      ...transport,
    });
    clients.set(app, client);
    let early = []; // what comes while the stored messages are read
    const shown = (message) => (early ? early.push(message) : tell("shown", line(message)));
    client.on("message", shown);
    client.on("sent", (message) => tell("sent", line(message)));
    client.on("rejected", (send) =>
      tell("rejected", { key: send.clientMessageId, code: send.error.code }),
    );
    client.on("caughtup", () => tell("caughtup"));
    client.on("status", (status) => {
      if (status.state === "waiting") tell("waiting", { code: status.error?.code ?? "" });
      if (status.state === "closed" && status.error)
        tell("failed", { error: String(status.error) });
    });
    const recent = (await Promise.all(chats.map((chat) => client.recent(chat)))).flat();
    tell("stored", { messages: recent.map(line) });
    const stored = new Set(recent.map((message) => message.id));
    const missed = early.filter((message) => !stored.has(message.id));
    early = undefined;
    missed.forEach(shown);
  }

  const commands = {
    open,
    say(app, { chat, text, key }) {
      clients
        .get(app)
        .send(chat, text, { clientMessageId: key })
        .catch(() => {}); // `rejected` and `closed` tell
    },
    close: (app) => clients.get(app).close(),
  };

  const done = new Map(); // commands of an application wait for each other

  async function run({ app, do: what, ...more }) {
    try {
      await commands[what](app, more);
    } catch (error) {
      say({ app, is: "failed", error: `${what}: ${error.stack ?? error}` });
    }
  }

  return function take(command) {
    const before = done.get(command.app) ?? Promise.resolve();
    done.set(
      command.app,
      before.then(() => run(command)),
    );
  };
}

function line({ id, userId, chatId, clientMessageId, text }) {
  return { id: String(id), user: userId, chat: chatId, key: clientMessageId, text };
}
