import type { Conversation } from "../model/conversation";
import { hueOf } from "../model/names";
import type { Session } from "../session";

/** A circle with the first letter of a name, in the colour of that user, and a dot for who is online. */
export function Avatar({ user, online = false }: { user: string; online?: boolean }) {
  return (
    <span class={`avatar hue-${hueOf(user)} ${online ? "online" : ""}`} aria-hidden="true">
      {user[0]!.toUpperCase()}
    </span>
  );
}

/** Whether the other user is online, as far as it is known. */
export function isOnline(session: Session, { presence }: Conversation): boolean {
  return session.state.state === "connected" && Boolean(presence?.online);
}
