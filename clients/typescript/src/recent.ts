/** Asks the history again while it does not know yet what this client was told of a group. */

import { waitMs } from "./backoff.js";
import { ChatError } from "./errors.js";

const GIVE_UP_MS = 20_000;

/**
 * Return the first answer that is recent, and does not say that there is no such group. Throws what
 * `ask` throws; after 20 s also `behind` and `not_found`.
 */
export async function recent<T>(
  ask: () => Promise<T>,
  isRecent: (answer: T) => boolean,
): Promise<T> {
  const giveUpMs = Date.now() + GIVE_UP_MS;
  for (let attempt = 0; ; attempt++) {
    const error = await ask().then(
      (answer) => (isRecent(answer) ? { answer } : behind()),
      (thrown: ChatError) => thrown,
    );
    if (!(error instanceof ChatError)) return error.answer;
    const wait = waitMs(attempt, Math.random());
    const isEarly = error.code === "not_found" || error.code === "behind";
    if (!isEarly || Date.now() + wait > giveUpMs) throw error;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function behind(): ChatError {
  return new ChatError("behind", "the history is not that far yet: ask again", true);
}
