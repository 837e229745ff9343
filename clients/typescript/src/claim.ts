/** Says which of several clients may write a file: the one that opened it last. */

import { open, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { platform } from "node:os"; // to import node:process would open stdout
import { basename, dirname, join } from "node:path";
import { ChatError } from "./errors.js";
import { newId } from "./newid.js";

export class Claim {
  private readonly id = newId();
  /** What to write before it takes the file's place: no other client writes there. */
  readonly beside: string;

  private constructor(readonly path: string) {
    this.beside = `${path}.${this.id}.new`;
  }

  /** Take the file over. Whoever had it before may not write any more. */
  static async of(path: string): Promise<Claim> {
    const claim = new Claim(path);
    await writeFile(`${path}.owner`, claim.id, { mode: 0o600 });
    await removeLeft(path);
    return claim;
  }

  /**
   * Put what was written beside the file in its place, where it is after a power cut, too. Throws
   * `storage_taken`.
   */
  async replace(): Promise<void> {
    await this.check();
    await rename(this.beside, this.path).catch(async (error: unknown) => {
      await this.check(); // the next owner removes what lies beside the file
      throw error;
    });
    await syncFolder(dirname(this.path));
    await this.check();
  }

  /** Throws `storage_taken` if another client has opened the file since. */
  async check(): Promise<void> {
    if ((await readFile(`${this.path}.owner`, "utf8")) === this.id) return;
    const message = `another client has opened ${this.path} since: give each its own file`;
    throw new ChatError("storage_taken", message);
  }
}

/** Remove what clients that were killed have left beside a file. */
async function removeLeft(path: string): Promise<void> {
  const [folder, name] = [dirname(path), basename(path)];
  const left = (await readdir(folder)).filter(
    (each) => each.startsWith(`${name}.`) && each.endsWith(".new"),
  );
  await Promise.all(left.map((each) => rm(join(folder, each), { force: true })));
}

async function syncFolder(path: string): Promise<void> {
  if (platform() === "win32") return; // which cannot open a folder
  const folder = await open(path);
  await folder.sync().finally(() => folder.close());
}
