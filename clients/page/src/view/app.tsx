import { Component } from "preact";

import { forgetName, keepName, nameOfTab, signedFor } from "../login";
import { isUser } from "../model/names";
import type { Connect } from "../port";
import { Session } from "../session";
import { Connection } from "./connection";
import { ConversationView } from "./conversation";
import { addressOf, peerInAddress } from "./route";
import { Sidebar } from "./sidebar";
import { SignIn } from "./signin";

interface State {
  session?: Session | undefined;
  why?: string | undefined;
  busy: boolean;
}

/** The whole page: who you are, then your chats. */
export class App extends Component<{ connect: Connect }, State> {
  override state: State = { busy: false };

  override componentDidMount(): void {
    addEventListener("hashchange", this.route);
    addEventListener("keydown", this.shortcut);
    for (const event of ["focus", "visibilitychange"]) addEventListener(event, this.looked, true);
    const name = nameOfTab();
    if (name !== undefined) void this.begin(name);
  }

  override render(_: unknown, { session, why, busy }: State) {
    document.title = titleOf(session);
    if (!session) return <SignIn why={why} busy={busy} onName={(name) => void this.begin(name)} />;
    const { opened } = session;
    return (
      <main class={`app ${opened ? "has-chat" : ""}`}>
        <h1 class="unseen">CecoChat of {session.me}</h1>
        <Connection status={session.state} />
        <Sidebar session={session} onLeave={this.leave} />
        {opened ? (
          <ConversationView key={opened.peer} session={session} chat={opened} />
        ) : (
          <p class="nothing">Choose a chat, or begin one.</p>
        )}
        <div class="unseen" role="log" aria-live="polite">
          {session.announced}
        </div>
      </main>
    );
  }

  private readonly begin = async (name: string): Promise<void> => {
    this.setState({ busy: true, why: undefined });
    const session = new Session(name, () => this.setState({}));
    try {
      await signedFor(name); // says why it cannot be
      await session.start(this.props.connect);
    } catch (error) {
      session.close();
      this.setState({ busy: false, why: (error as Error).message });
      return;
    }
    keepName(name);
    this.setState({ session, busy: false }); // from now on it takes what a person writes
    open(session);
  };

  private readonly leave = (): void => {
    this.state.session?.close();
    forgetName();
    location.hash = "";
    this.setState({ session: undefined });
  };

  private readonly route = (): void => {
    if (this.state.session) open(this.state.session);
  };

  private readonly looked = ({ type }: Event): void => {
    this.state.session?.look();
    if (type === "visibilitychange") void this.state.session?.safety.load(); // another device may have blocked somebody
  };

  private readonly shortcut = (event: KeyboardEvent): void => {
    const { session } = this.state;
    if (!session) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "k") {
      event.preventDefault();
      document.querySelector<HTMLInputElement>("#find")?.focus();
    } else if (event.altKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      this.step(session, event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Escape" && session.opened) {
      document.querySelector<HTMLTextAreaElement>("#composer")?.focus();
    }
  };

  /** Go to the next chat of the list, or to the one before. */
  private step(session: Session, by: 1 | -1): void {
    const chats = session.chats.sorted.filter(({ settings, isRequest }) => !settings.now.archived && !isRequest);
    const at = session.opened ? chats.indexOf(session.opened) : -1;
    const from = at < 0 && by < 0 ? 0 : at;
    const next = chats[(from + by + chats.length) % chats.length];
    if (next) location.hash = addressOf(next.peer);
  }
}

/** Open the chat that the page's address names. */
function open(session: Session): void {
  const peer = peerInAddress();
  session.open(peer !== undefined && isUser(peer) ? peer : undefined);
}

function titleOf(session: Session | undefined): string {
  if (!session) return "CecoChat";
  const { unread } = session.chats;
  return `${unread > 0 ? `(${unread}) ` : ""}${session.me} · CecoChat`;
}
