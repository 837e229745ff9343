/** A rule taken away: methods of the client, replaced for the length of a case. */

/* eslint-disable @typescript-eslint/no-explicit-any -- private methods are replaced, too */

export interface Ablation {
  of: { prototype: any };
  method: string;
  /** Return what stands in the place of the method. */
  instead: (original: any) => (this: any, ...args: any[]) => unknown;
}

export function ablation(
  of: { prototype: any },
  method: string,
  instead: Ablation["instead"],
): Ablation {
  return { of, method, instead };
}

/** Do something without a rule. */
export async function without<T>(ablations: Ablation[], then: () => Promise<T>): Promise<T> {
  const originals = ablations.map(({ of, method }) => of.prototype[method]);
  ablations.forEach(({ of, method, instead }, index) => {
    if (!originals[index]) throw new Error(`there is no ${method} to replace`);
    of.prototype[method] = instead(originals[index]);
  });
  try {
    return await then();
  } finally {
    ablations.forEach(({ of, method }, index) => (of.prototype[method] = originals[index]));
  }
}
