import { useLayoutEffect, useRef } from "preact/hooks";

import type { Conversation } from "../model/conversation";
import type { Session } from "../session";
import { Icon } from "./icons";

const LINES_MAX_PX = 160;

/** The field in which a person writes. It is one for each chat, so that its undo is of that chat. */
export function Composer({ session, chat }: { session: Session; chat: Conversation }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const grow = () => {
    const { current } = field;
    if (!current) return;
    current.style.height = "auto";
    current.style.height = `${Math.min(current.scrollHeight, LINES_MAX_PX)}px`;
  };
  useLayoutEffect(() => {
    if (!field.current) return;
    field.current.value = session.draft(chat);
    grow();
    if (matchMedia("(hover: hover)").matches) field.current.focus();
  }, [chat]);
  const { about } = session;
  useLayoutEffect(() => {
    if (!about || !field.current) return;
    if (about.act === "edit") field.current.value = about.message.text ?? "";
    grow();
    field.current.focus();
  }, [about]);
  const leave = () => {
    if (about?.act === "edit" && field.current) field.current.value = session.draft(chat);
    session.compose(undefined);
    grow();
  };
  const send = () => {
    const text = field.current?.value.trim();
    if (!text || !field.current) return;
    session.send(chat, text);
    field.current.value = session.draft(chat); // an edit leaves it as it was
    grow();
    field.current.focus();
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Escape" && about) return leave();
    const newest = chat.newestOwn;
    if (event.key === "ArrowUp" && newest && !field.current?.value && !about) {
      event.preventDefault();
      return session.compose({ act: "edit", message: newest });
    }
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      class={about ? "composer about" : "composer"}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {about && (
        <p class="about-line">
          <span>{about.act === "edit" ? "Editing" : `Answering ${about.message.from}`}</span>
          <q dir="auto">{about.message.text}</q>
          <button type="button" onClick={leave}>
            Cancel
          </button>
        </p>
      )}
      <textarea
        id="composer"
        ref={field}
        rows={1}
        dir="auto"
        placeholder={`Message to ${chat.name}`}
        aria-label={`Message to ${chat.name}`}
        onKeyDown={onKey}
        onInput={(event) => {
          grow();
          if (about?.act !== "edit") session.keepDraft(chat, event.currentTarget.value);
          session.types(chat, event.currentTarget.value);
        }}
      />
      <button class="primary round" aria-label="Send" title="Send (Enter)">
        <Icon name="send" />
      </button>
    </form>
  );
}
