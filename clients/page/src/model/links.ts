/** A piece of a text: plain, or an address that may be opened. */
export interface Piece {
  readonly text: string;
  readonly url?: string;
}

const ADDRESS = /\bhttps?:\/\/[^\s<>"']+/gi;
const AFTER = /[.,;:!?)\]}'"’”…]+$/;

/** Split a text into pieces. Only http and https become links, whatever else looks like one. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = trimmed(match[0]);
    const url = parsed(address);
    if (url === undefined) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push({ text: address, url });
    end = match.index + address.length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}

/** Leave out what belongs to the sentence around an address. */
function trimmed(address: string): string {
  const without = address.replace(AFTER, "");
  const opened = without.split("(").length;
  return opened > without.split(")").length && address[without.length] === ")" ? `${without})` : without;
}

function parsed(address: string): string | undefined {
  if (!URL.canParse(address)) return undefined;
  const url = new URL(address);
  return url.protocol === "http:" || url.protocol === "https:" ? url.href : undefined;
}
