/**
 * Writes and reads protobuf messages, by the tables of `gen/schemas.ts`. The messages are those of
 * protobuf-es, and so are the functions, but for a sixth of the size: there are no descriptors.
 */

import type { Message, MessageInitShape } from "@bufbuild/protobuf";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";

/** The name of a message, then its fields. */
export type Schema<T extends Message> = readonly [name: T["$typeName"], ...fields: Field[]];
type Table = readonly [name: string, ...fields: Field[]];
/** A label is one of those below, or the name of a oneof. */
type Field = readonly [no: number, name: string, type: number, label: Label, of?: Table];
type Label = 0 | typeof LIST | typeof MAP | typeof OPTIONAL | string;
export type Init<T extends Message> = MessageInitShape<GenMessage<T>>;
type Values = Record<string, any>; // eslint-disable-line @typescript-eslint/no-explicit-any

const LIST = 1;
const MAP = 2; // from int32 to int64
const OPTIONAL = 3;
const DOUBLE = 1;
const INT64 = 3;
const INT32 = 5;
const BOOL = 8;
const STRING = 9;
const BYTES = 12;
const DEFAULTS: Values = {
  [DOUBLE]: 0,
  [INT64]: 0n,
  [INT32]: 0,
  [BOOL]: false,
  [STRING]: "",
  [BYTES]: new Uint8Array(),
};

/** Make a message. What `init` leaves out is 0 or empty. */
export function create<T extends Message>(schema: Schema<T>, init: Init<T> = {} as Init<T>): T {
  const given = init as Values;
  if (given.$typeName === schema[0]) return given as T;
  const message: Values = { $typeName: schema[0] };
  for (const field of fieldsOf(schema)) {
    const [, name, type, label, of] = field;
    const value = valueOf(given, field);
    if (typeof label === "string") message[label] ??= { case: undefined };
    else if (value === undefined && label !== OPTIONAL) message[name] = empty(type, label);
    if (value === undefined) continue;
    const made = (each: Values): unknown =>
      of ? create(of as Schema<Message>, each as never) : each;
    set(message, field, label === LIST ? (value as Values[]).map(made) : made(value as Values));
  }
  return message as T;
}

/** Serialize a message. */
export function toBinary<T extends Message>(
  schema: Schema<T>,
  message: T,
): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter();
  write(writer, schema, message as Values);
  return writer.finish();
}

/** Parse a message. What is not known is left out. Throws if the bytes are malformed. */
export function fromBinary<T extends Message>(schema: Schema<T>, bytes: Uint8Array): T {
  return read(new BinaryReader(bytes), schema, bytes.length);
}

function fieldsOf(schema: Table): Field[] {
  return schema.slice(1) as Field[];
}

function empty(type: number, label: Label): unknown {
  return label === LIST ? [] : label === MAP ? {} : DEFAULTS[type];
}

function valueOf(message: Values, [, name, , label]: Field): unknown {
  if (typeof label !== "string") return message[name];
  const group = message[label];
  return group?.case === name ? group.value : undefined;
}

function set(message: Values, [, name, , label]: Field, value: unknown): void {
  if (typeof label === "string") message[label] = { case: name, value };
  else message[name] = value;
}

function write(writer: BinaryWriter, schema: Table, message: Values): void {
  for (const field of fieldsOf(schema)) {
    const [no, , type, label, of] = field;
    const value = valueOf(message, field) as never;
    if (value === undefined || (label === 0 && isDefault(type, value))) continue;
    if (label === LIST) (value as never[]).forEach((each) => one(writer, no, type, each, of));
    else if (label === MAP) entries(writer, no, value);
    else one(writer, no, type, value, of);
  }
}

function isDefault(type: number, value: unknown): boolean {
  return type === BYTES ? !(value as Uint8Array).length : value === DEFAULTS[type];
}

function one(writer: BinaryWriter, no: number, type: number, value: never, of?: Table): void {
  writer.tag(no, type === DOUBLE ? 1 : type >= STRING ? 2 : 0);
  if (of) {
    writer.fork();
    write(writer, of, value);
    writer.join();
  } else if (type === STRING) writer.string(value);
  else if (type === BYTES) writer.bytes(value);
  else if (type === DOUBLE) writer.double(value);
  else if (type === BOOL) writer.bool(value);
  else if (type === INT64) writer.int64(value);
  else writer.int32(value);
}

function entries(writer: BinaryWriter, no: number, map: Record<string, bigint>): void {
  for (const [key, value] of Object.entries(map)) {
    writer.tag(no, 2).fork().tag(1, 0).int32(Number(key)).tag(2, 0).int64(value).join();
  }
}

function read<T extends Message>(reader: BinaryReader, schema: Schema<T>, length: number): T {
  const message: Values = create(schema);
  for (const end = reader.pos + length; reader.pos < end;) {
    const [no, wire] = reader.tag();
    const field = fieldsOf(schema).find(([each]) => each === no);
    if (field) take(reader, message, field);
    else reader.skip(wire, no);
  }
  return message as T;
}

function take(reader: BinaryReader, message: Values, field: Field): void {
  const [, name, type, label, of] = field;
  if (label === MAP) return entry(reader, message[name]);
  const value = of
    ? read(reader, of as Schema<Message>, reader.uint32())
    : type === STRING
      ? reader.string()
      : type === BYTES
        ? reader.bytes()
        : type === DOUBLE
          ? reader.double()
          : type === BOOL
            ? reader.bool()
            : type === INT64
              ? reader.int64()
              : reader.int32();
  if (label === LIST) message[name].push(value);
  else set(message, field, value);
}

function entry(reader: BinaryReader, map: Values): void {
  let [key, value]: [number, unknown] = [0, 0n];
  for (const end = reader.uint32() + reader.pos; reader.pos < end;) {
    const [no, wire] = reader.tag();
    if (no === 1) key = reader.int32();
    else if (no === 2) value = reader.int64();
    else reader.skip(wire, no);
  }
  map[key] = value;
}
