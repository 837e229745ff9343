import { useLayoutEffect, useRef, useState } from "preact/hooks";

import type { Conversation } from "../model/conversation";
import { FILES_MAX, sizeInWords } from "../model/files";
import type { Session } from "../session";
import { Icon } from "./icons";

const LINES_MAX_PX = 160;

/** The field in which a person writes. It is one for each chat, so that its undo is of that chat. */
export function Composer({ session, chat }: { session: Session; chat: Conversation }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const [files, setFiles] = useState<readonly File[]>([]);
  const grow = () => {
    const { current } = field;
    if (!current) return;
    current.style.height = "auto";
    current.style.height = `${Math.min(current.scrollHeight, LINES_MAX_PX)}px`;
  };
  useLayoutEffect(() => {
    setFiles([]);
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
  const add = (chosen: FileList | null) => {
    const some = [...(chosen ?? [])].filter(({ size }) => size > 0);
    setFiles([...files, ...some].slice(0, FILES_MAX));
    field.current?.focus();
  };
  const send = () => {
    const text = field.current?.value.trim();
    const carried = about?.act === "edit" ? [] : files;
    if (!field.current || (!text && !carried.length)) return;
    session.send(chat, text ?? "", carried);
    if (carried.length) setFiles([]);
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
      class={about || files.length ? "composer about" : "composer"}
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
      {about?.act !== "edit" && files.length > 0 && (
        <ul class="chosen" aria-label="Files to send">
          {files.map((file, at) => (
            <li key={`${at} ${file.name}`} class="file">
              <span class="file-name" dir="auto">
                {file.name}
              </span>
              <span class="size">{sizeInWords(file.size)}</span>
              <button
                type="button"
                aria-label={`Do not send ${file.name}`}
                onClick={() => setFiles(files.filter((each) => each !== file))}
              >
                ×
              </button>
            </li>
          ))}
        </ul>
      )}
      <input
        ref={picker}
        type="file"
        id="files"
        multiple
        hidden
        onChange={(event) => {
          add(event.currentTarget.files);
          event.currentTarget.value = ""; // so that the same can be chosen again
        }}
      />
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
      {about?.act !== "edit" && (
        <button
          type="button"
          class="round"
          aria-label="Attach files"
          title={`Attach up to ${FILES_MAX} files`}
          onClick={() => picker.current?.click()}
        >
          <Icon name="clip" />
        </button>
      )}
      <button class="primary round" aria-label="Send" title="Send (Enter)">
        <Icon name="send" />
      </button>
    </form>
  );
}
