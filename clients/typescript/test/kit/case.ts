/** The cases of the conformance kit: what is in `conformance/` at the top of the repository. */

import { readFileSync, readdirSync } from "node:fs";

const KIT = new URL("../../../../../conformance/", import.meta.url);

export type Json = Record<string, any>; // eslint-disable-line @typescript-eslint/no-explicit-any

export interface Query {
  getChats?: Json;
  getMessages?: Json;
  answer?: Json;
  error?: Json;
  optional?: boolean;
}

/** A step: what to do, and what the client does then. README.md of the kit says what each key is. */
export interface Step extends Json {
  server?: Json[];
  frame?: string;
  submit?: Json[];
  read?: string;
  close?: number;
  queries?: Query[];
  repeat?: number;
  stores?: Json;
}

export interface Case {
  name: string;
  user: string;
  deviceId: string;
  steps: Step[];
}

export interface Rule {
  name: string;
  case: string;
}

function read(name: string): Json {
  return JSON.parse(readFileSync(new URL(name, KIT), "utf8"));
}

export const RULES = read("rules.json") as Rule[];

export const CASES: Case[] = readdirSync(KIT, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .flatMap(({ name: folder }) =>
    readdirSync(new URL(`${folder}/`, KIT)).map((file) => `${folder}/${file.replace(".json", "")}`),
  )
  .sort()
  .map((name) => ({ ...(read(`${name}.json`) as Case), name }));
