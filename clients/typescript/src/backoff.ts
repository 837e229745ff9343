/** How long a client waits before its next attempt. */

const BASE_MS = 500;
const MAX_MS = 20_000;
const ASKED_MAX_MS = 600_000; // the longest that a server can ask for, far below what timers take

/** What the connect server asks of its clients: the first wait and the longest, in seconds. */
export interface Asked {
  base_s: number;
  max_s: number;
}

/**
 * Return how long to wait before `attempt`, counted from 0: between nothing and a ceiling (full
 * jitter), which doubles from 0.5 up to 20 s. A hidden page is in no hurry: its ceiling is 20 s
 * from the start. The connect server can only raise both ends, and `atLeastMs` is what a server
 * asks for in an error; it is spread over half as much again. It can ask for at most 10 minutes, and
 * what is no number from 0 on counts as not given. `chance` is from 0 to below 1.
 */
export function waitMs(
  attempt: number,
  chance: number,
  { atLeastMs = 0, hidden = false, asked = { base_s: 0, max_s: 0 } } = {},
): number {
  const max = Math.max(MAX_MS, askedMs(asked?.max_s, 1_000));
  const base = hidden ? max : Math.max(BASE_MS, askedMs(asked?.base_s, 1_000));
  const ceiling = Math.min(base * 2 ** Math.min(attempt, 32), max);
  return Math.max(ceiling * chance, 10, askedMs(atLeastMs) * (1 + chance / 2));
}

function askedMs(wait: unknown, unitMs = 1): number {
  const given = typeof wait === "number" && wait >= 0 ? wait : 0;
  return Math.min(given * unitMs, ASKED_MAX_MS);
}
