/**
 * Saves numbers in a file, each with its message, and tells each once its save has resolved:
 *
 *     node saver.js FILE LAST
 */

import { writeSync } from "node:fs";
import { large, message, opened } from "./bots.js";

const [path, last] = process.argv.slice(2);
const kept = await opened(path!);
for (let n = Number(last) + 1; ; n++) {
  await kept.save(large(n), [message(BigInt(n))]);
  writeSync(1, `${n}\n`);
}
