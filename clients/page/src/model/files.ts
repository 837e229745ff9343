/** Files that messages carry. */

export interface Attached {
  readonly id: string;
  readonly name: string;
  /** What the sender says that it is. */
  readonly type: string;
  readonly size: number;
}

export const FILES_MAX = 10;

/** What is shown in a message: types that run nothing, and that browsers know by their content. */
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const SHOWN_MAX_BYTES = 10 << 20;
const UNITS = ["bytes", "KiB", "MiB", "GiB"];

export function isPicture({ type, size }: Attached): boolean {
  return PICTURES.has(type) && size <= SHOWN_MAX_BYTES;
}

export function sizeInWords(size: number): string {
  const unit = size ? Math.min(Math.floor(Math.log2(size) / 10), UNITS.length - 1) : 0;
  const value = size / 2 ** (10 * unit);
  return `${unit ? value.toFixed(1) : value} ${UNITS[unit]}`;
}

/** Return what is said of a message in one line. */
export function inBrief(text: string, files: readonly { readonly name: string }[] = []): string {
  return text || files.map(({ name }) => name).join(", ");
}
