import { useEffect, useState } from "preact/hooks";

import { exactly, lately } from "../model/dates";
import type { Found } from "../port";
import type { Session } from "../session";
import { Avatar } from "./avatar";
import { addressOf } from "./route";

const FOUND_MAX = 20;
const TEXT_MIN = 2;
const WAIT_MS = 400; // after a key, so that not every beginning of a word is looked for

interface Given {
  readonly session: Session;
  readonly text: string;
}

/** The messages that have the words of a text, below the chats with such a name. */
export function FoundMessages({ session, text }: Given) {
  const [found, setFound] = useState<readonly Found[]>([]);
  useEffect(() => {
    if (text.length < TEXT_MIN) return setFound([]);
    let isWanted = true;
    const look = async () => {
      const all = await session.search(text, FOUND_MAX);
      if (isWanted) setFound(all);
    };
    const waiting = setTimeout(look, WAIT_MS);
    return () => {
      isWanted = false;
      clearTimeout(waiting);
    };
  }, [session, text]);
  if (!found.length) return null;
  return (
    <section class="found" aria-label="Messages">
      <h2>Messages</h2>
      <ul class="chats">
        {found.map((each) => (
          <Line key={`${each.message.id}`} session={session} {...each} />
        ))}
      </ul>
    </section>
  );
}

function Line({ session, peer, message }: Found & { session: Session }) {
  const { name } = session.chats.with(peer);
  const who = message.from === session.me ? "You" : message.from;
  return (
    <li>
      <a href={addressOf(peer)} class="hit">
        <Avatar user={name} hue={peer} />
        <span class="name">{name}</span>
        <time class="at" dateTime={message.at.toISOString()} title={exactly(message.at)}>
          {lately(message.at)}
        </time>
        <span class="last" dir="auto">
          {who}: {message.text}
        </span>
      </a>
    </li>
  );
}
