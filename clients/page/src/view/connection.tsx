import { useEffect, useState } from "preact/hooks";

import type { Status } from "../port";

/** A quiet line while there is no connection. What is written meanwhile waits. */
export function Connection({ status }: { status: Status }) {
  const [, tick] = useState(0);
  const waits = status.state === "waiting";
  useEffect(() => {
    if (!waits) return undefined;
    const timer = setInterval(() => tick((count) => count + 1), 1_000);
    return () => clearInterval(timer);
  }, [waits]);
  const text = textOf(status);
  return (
    <div class={`connection ${status.state}`} role="status">
      {text && <p>{text}</p>}
    </div>
  );
}

function textOf(status: Status): string {
  if (status.state === "connected") return "";
  if (status.state === "closed") return `This chat has ended here: ${status.why}. Reload the page to go on.`;
  if (!navigator.onLine) return "You are offline. What you write is sent once you are back.";
  if (status.state !== "waiting") return "Connecting …";
  const left = Math.ceil((status.until.getTime() - Date.now()) / 1_000);
  return left > 1 ? `No connection. Trying again in ${left} s.` : "No connection. Trying again …";
}
