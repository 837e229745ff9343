/** What happens, as it goes from one tab to another. */

import { type ChatError, fromData, toData } from "./errors.js";
import type { Occurrence } from "./events.js";

/** Errors do not keep their fields on the way to another tab, so they go as data. */
export function packed(occurrence: Occurrence): Occurrence {
  return converted(occurrence, toData);
}

export function unpacked(occurrence: Occurrence): Occurrence {
  return converted(occurrence, fromData);
}

function converted(occurrence: Occurrence, convert: (error: ChatError) => unknown): Occurrence {
  const { name, value } = occurrence;
  if (!("error" in value) || !value.error) return occurrence;
  return { name, value: { ...value, error: convert(value.error) } } as Occurrence;
}
