/** Return 32 random hex digits. `crypto.randomUUID` is only there in secure contexts. */
export function newId(): string {
  const { crypto } = globalThis as { crypto?: Crypto };
  const bytes = new Uint8Array(16);
  if (crypto) crypto.getRandomValues(bytes);
  else bytes.forEach((_, at) => (bytes[at] = Math.random() * 256)); // Node 18
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
