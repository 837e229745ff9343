/** Return the address of a chat within the page. */
export function addressOf(peer: string): string {
  return `#/${encodeURIComponent(peer)}`;
}

/** Return the user whose chat the page's address names. */
export function peerInAddress(): string | undefined {
  const [, named] = /^#\/(.+)$/.exec(location.hash) ?? [];
  try {
    return named === undefined ? undefined : decodeURIComponent(named);
  } catch {
    return undefined;
  }
}
