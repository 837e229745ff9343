/** What somebody began to write, kept in this browser until it is sent. */

function keyOf(me: string, peer: string): string {
  return `cecochat draft ${me} ${peer}`;
}

export function draftOf(me: string, peer: string): string {
  return localStorage.getItem(keyOf(me, peer)) ?? "";
}

export function keepDraft(me: string, peer: string, text: string): void {
  if (text) localStorage.setItem(keyOf(me, peer), text);
  else localStorage.removeItem(keyOf(me, peer));
}
