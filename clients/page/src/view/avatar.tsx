import type { Conversation } from "../model/conversation";
import { hueOf } from "../model/names";
import type { Session } from "../session";

interface Given {
  readonly user: string;
  /** What the colour stands for, if it is not the name. */
  readonly hue?: string;
  readonly online?: boolean;
}

/** A circle with the first letter of a name, in the colour of that user, and a dot for who is online. */
export function Avatar({ user, hue = user, online = false }: Given) {
  return (
    <span class={`avatar hue-${hueOf(hue)} ${online ? "online" : ""}`} aria-hidden="true">
      {[...user][0]!.toUpperCase()}
    </span>
  );
}

/** Whether the other user is online, as far as it is known. */
export function isOnline(session: Session, { presence }: Conversation): boolean {
  return session.state.state === "connected" && Boolean(presence?.online);
}
