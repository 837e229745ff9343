#!/usr/bin/env node
// A plugin of protoc, beside protoc-gen-es. It writes src/gen/schemas.ts: of each message, the fields, for src/codec.ts. They take a
// sixth of the room that descriptors and what reads them would take in a page.
import { createEcmaScriptPlugin, runNodeJs } from "@bufbuild/protoplugin";

const MESSAGE = 11;
const STRING = 9;
const INT64 = 3;
const INT32 = 5;
const KNOWN = new Set([1, 3, 5, 8, 9, 12]); // double, int64, int32, bool, string, bytes

function field(desc) {
  const sub = desc.message ? `, ${desc.message.name}Schema` : "";
  const label = desc.oneof ? JSON.stringify(desc.oneof.localName) : labels(desc);
  return `[${desc.number}, "${desc.localName}", ${type(desc)}, ${label}${sub}]`;
}

function labels(desc) {
  if (desc.fieldKind === "list") return 1;
  if (desc.fieldKind === "map") return 2;
  return desc.presence === 1 ? 3 : 0;
}

function type(desc) {
  const scalar = desc.scalar ?? (desc.enum ? INT32 : MESSAGE);
  const list = desc.fieldKind === "list" && scalar !== MESSAGE && scalar !== STRING;
  const map = desc.fieldKind === "map" && (desc.mapKey !== INT32 || scalar !== INT64);
  if (list || map || (scalar !== MESSAGE && !KNOWN.has(scalar))) {
    throw new Error(`${desc}: src/codec.ts does not know this kind of field yet`);
  }
  return scalar;
}

function write(file, message, written) {
  if (written.has(message)) return;
  written.add(message);
  message.nestedMessages.forEach((nested) => write(file, nested, written));
  message.fields.forEach((each) => each.message && write(file, each.message, written));
  const shape = file.importShape(message);
  const Schema = file.import("Schema", "../codec.js", true);
  file.print("export const ", message.name, "Schema: ", Schema, "<", shape, "> = [");
  file.print(`  "${message.typeName}",`);
  const inOrder = [...message.fields].sort((a, b) => a.number - b.number);
  for (const each of inOrder) file.print(`  ${field(each)},`);
  file.print("];");
  file.print();
}

runNodeJs(
  createEcmaScriptPlugin({
    name: "protoc-gen-schemas",
    version: "v1",
    generateTs(schema) {
      const file = schema.generateFile("schemas.ts");
      file.preamble(schema.files[0]);
      const written = new Set();
      for (const proto of schema.files) {
        for (const message of proto.messages) write(file, message, written);
      }
    },
  }),
);
