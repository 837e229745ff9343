/** Who chats in this tab, and the tokens that the development server signs for them. */

const NAME = "cecochat name";
const RECENT = "cecochat names";
const RECENT_MAX = 4;

export function nameOfTab(): string | undefined {
  return sessionStorage.getItem(NAME) ?? undefined;
}

export function keepName(name: string): void {
  sessionStorage.setItem(NAME, name);
  const others = recentNames().filter((each) => each !== name);
  localStorage.setItem(RECENT, [name, ...others].slice(0, RECENT_MAX).join(" "));
}

export function forgetName(): void {
  sessionStorage.removeItem(NAME);
}

export function recentNames(): string[] {
  return (localStorage.getItem(RECENT) ?? "").split(" ").filter(Boolean);
}

export interface Signed {
  readonly token: string;
  /** Which system signed it: another data folder may have the same address. */
  readonly system: string;
}

/** Return a token. Throws an `Error` that says why there is none. */
export async function signedFor(name: string): Promise<Signed> {
  const answer = await fetch("/development/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user: name }),
  });
  const body = (await answer.json()) as Signed & { error?: { message: string } };
  if (!answer.ok) throw new Error(body.error?.message ?? "the server gave no token");
  return body;
}
