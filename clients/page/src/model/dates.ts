/** Dates and times, in the language and the zone of whoever reads. */

const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const SHORT = new Intl.DateTimeFormat(undefined, { dateStyle: "short" });
const DAY_MS = 86_400_000;

export function timeOf(at: Date): string {
  return TIME.format(at);
}

export function exactly(at: Date): string {
  return EXACT.format(at);
}

/** Return the name of a day: Today, Yesterday, Tuesday, or a date. */
export function dayOf(at: Date, now = new Date()): string {
  const days = daysBetween(at, now);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days > 1 && days < 7) return WEEKDAY.format(at);
  return at.getFullYear() === now.getFullYear() ? DAY.format(at) : DATE.format(at);
}

/** Return when a chat was last used, as short as can be. */
export function lately(at: Date, now = new Date()): string {
  const days = daysBetween(at, now);
  if (days === 0) return TIME.format(at);
  if (days === 1) return "Yesterday";
  return days < 7 ? WEEKDAY.format(at) : SHORT.format(at);
}

/** Return a time that is to come, as short as can be. */
export function shortly(at: Date, now = new Date()): string {
  const days = daysBetween(now, at);
  if (days === 0) return TIME.format(at);
  return days < 7 ? `${WEEKDAY.format(at)}, ${TIME.format(at)}` : DATE.format(at);
}

function daysBetween(at: Date, now: Date): number {
  const midnight = (date: Date) => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((midnight(now) - midnight(at)) / DAY_MS);
}
