import { useEffect, useState } from "preact/hooks";

import { type Attached, isPicture, sizeInWords } from "../model/files";
import type { Message } from "../model/message";
import type { Session } from "../session";
import { Icon } from "./icons";

/** The files of a message. Pictures of safe types are shown; everything else is only saved. */
export function Files({ message, session }: { message: Message; session: Session }) {
  return (
    <>
      {message.files?.map((file) =>
        isPicture(file) ? (
          <Picture key={file.id} message={message} file={file} session={session} />
        ) : (
          <Saved key={file.id} message={message} file={file} session={session} />
        ),
      )}
    </>
  );
}

interface About {
  readonly message: Message;
  readonly file: Attached;
  readonly session: Session;
}

/** Have the browser save a file. What comes is marked as a download, so it leads nowhere. */
async function save({ message, file, session }: About): Promise<void> {
  const link = document.createElement("a");
  link.href = await session.link(message.id, file.id);
  link.download = file.name;
  link.rel = "noopener noreferrer";
  link.click();
}

function Saved(about: About) {
  const { file } = about;
  const [why, setWhy] = useState<string>();
  const act = () => save(about).then(() => setWhy(undefined), (error: Error) => setWhy(error.message));
  return (
    <>
      <button type="button" class="file" title={`Save ${file.name}`} onClick={act}>
        <Icon name="clip" />
        <span class="file-name" dir="auto">
          {file.name}
        </span>
        <span class="size">{sizeInWords(file.size)}</span>
      </button>
      {why !== undefined && (
        <span class="wrong" role="alert">
          Not saved: {why}
        </span>
      )}
    </>
  );
}

function Picture(about: About) {
  const { message, file, session } = about;
  const [url, setUrl] = useState<string>();
  const unshown = () => setUrl(undefined);
  useEffect(() => {
    let isHere = true;
    session.link(message.id, file.id).then(
      (found) => isHere && setUrl(found),
      () => {}, // it can still be saved, or says why not
    );
    return () => {
      isHere = false;
    };
  }, [message.id, file.id]);
  if (url === undefined) return <Saved {...about} />;
  return (
    <button type="button" class="picture" title={`Save ${file.name}`} onClick={() => save(about).catch(unshown)}>
      <img src={url} alt={file.name} onError={unshown} />
    </button>
  );
}

/** The files that wait to be sent with a message, by their names. */
export function Waiting({ names }: { names: readonly string[] }) {
  return (
    <>
      {names.map((name) => (
        <span key={name} class="file">
          <Icon name="clip" />
          <span class="file-name" dir="auto">
            {name}
          </span>
        </span>
      ))}
    </>
  );
}
