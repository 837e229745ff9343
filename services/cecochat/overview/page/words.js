// Numbers, times and durations as a person reads them.

const NOTHING = "–";
const SPACE = "\u00a0"; // a number stays on the line of its unit

/** @param {number | null} value @returns {string} */
export function number(value) {
  if (value === null) return NOTHING;
  const digits = value < 10 && value !== Math.round(value) ? 1 : 0;
  return value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

/** @param {number | null} ms @returns {string} */
export function duration(ms) {
  if (ms === null) return NOTHING;
  if (ms < 1_000) return `${number(ms)}${SPACE}ms`;
  if (ms < 120_000) return `${number(ms / 1_000)}${SPACE}s`;
  if (ms < 7_200_000) return `${number(Math.round(ms / 60_000))}${SPACE}min`;
  if (ms < 172_800_000) return `${number(Math.round(ms / 3_600_000))}${SPACE}h`;
  return `${number(Math.round(ms / 86_400_000))}${SPACE}d`;
}

/** @param {number} ms since 1970 @returns {HTMLTimeElement} in the reader's zone, the exact one on hover */
export function clock(ms) {
  const at = new Date(ms);
  const made = document.createElement("time");
  made.dateTime = at.toISOString();
  made.title = at.toISOString();
  made.textContent = at.toLocaleTimeString("en-GB");
  return made;
}

/** @param {number} count @param {string} noun @returns {string} */
export function counted(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** @param {number[]} numbers ascending @returns {string} such as 0-3, 7, as the commands print them */
export function ranges(numbers) {
  /** @type {[number, number][]} */
  const runs = [];
  for (const each of numbers) {
    const last = runs.at(-1);
    if (last && last[1] === each - 1) last[1] = each;
    else runs.push([each, each]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(", ");
}
