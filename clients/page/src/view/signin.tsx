import { useEffect, useRef, useState } from "preact/hooks";

import { recentNames } from "../login";
import { isUser } from "../model/names";
import { Avatar } from "./avatar";

const RULE = "Use 1 to 64 letters, digits and . _ : @ + - (no spaces)";

interface Given {
  readonly why: string | undefined;
  readonly busy: boolean;
  readonly onName: (name: string) => void;
}

/** Pick a name: in development, anybody here may be anybody. */
export function SignIn({ why, busy, onName }: Given) {
  const [name, setName] = useState("");
  const [wrong, setWrong] = useState("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const recent = recentNames();
  const offered = recent.length ? recent : ["alice", "bob"];
  const submit = (event: Event) => {
    event.preventDefault();
    const given = name.trim();
    if (isUser(given)) onName(given);
    else setWrong(RULE);
  };
  const told = wrong || why;
  return (
    <main class="sign-in">
      <form onSubmit={submit} noValidate>
        <h1>CecoChat</h1>
        <label for="name">Your name</label>
        <div class="field">
          <input
            id="name"
            value={name}
            onInput={(event) => {
              setName(event.currentTarget.value);
              setWrong("");
            }}
            maxLength={64}
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            aria-invalid={Boolean(wrong)}
            aria-describedby="why"
            ref={field}
          />
          <button class="primary" disabled={busy}>
            Chat
          </button>
        </div>
        <p id="why" class="wrong" role="alert">
          {told}
        </p>
        <p class="quiet" id="offered">
          {recent.length ? "Or go on as" : "For a first look, be one here and the other in a second window"}
        </p>
        <ul class="offered" aria-labelledby="offered">
          {offered.map((each) => (
            <li key={each}>
              <button type="button" disabled={busy} onClick={() => onName(each)}>
                <Avatar user={each} />
                {each}
              </button>
            </li>
          ))}
        </ul>
        <p class="quiet small">
          This page is for development: whoever runs the server can be anybody here. In production
          there is no such page.
        </p>
      </form>
    </main>
  );
}
