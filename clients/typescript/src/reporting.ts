/** What a user reports to the moderators, and whom they block. */

import type { Init } from "./codec.js";
import type { ListBlocksResponse, ReportRequest } from "./gen/cecochat/v1/reporting_pb.js";
import {
  BlockRequestSchema,
  BlockResponseSchema,
  ListBlocksRequestSchema,
  ListBlocksResponseSchema,
  ReportRequestSchema,
  ReportResponseSchema,
  UnblockRequestSchema,
  UnblockResponseSchema,
} from "./gen/schemas.js";
import type { LocalDevice } from "./local.js";
import type { Queries } from "./queries.js";

/** A user whom this user blocks, and since when. */
export interface Blocked {
  userId: string;
  at: Date;
}

/** What is asked: to report, to block, to end a block, or for the users above one that are blocked. */
export type Asked =
  { report: Init<ReportRequest> } | { block: string } | { unblock: string } | { above: string };

export interface Answered {
  reportId?: string;
  blocked?: Blocked[];
  hasMore?: boolean;
}

/** Ask the history server. A report waits for the history to have what this device knows of. */
export async function reported(
  asked: Asked,
  queries: Queries,
  local: Pick<LocalDevice, "readToken">,
): Promise<Answered> {
  if ("report" in asked) {
    const token = local.readToken();
    const request = { ...asked.report, ...(token && { token }) };
    const schemas = [ReportRequestSchema, ReportResponseSchema] as const;
    const { reportId } = await queries.ask("Report", ...schemas, request);
    return { reportId };
  }
  if ("block" in asked) {
    const schemas = [BlockRequestSchema, BlockResponseSchema] as const;
    await queries.ask("Block", ...schemas, { userId: asked.block });
    return {};
  }
  if ("unblock" in asked) {
    const schemas = [UnblockRequestSchema, UnblockResponseSchema] as const;
    await queries.ask("Unblock", ...schemas, { userId: asked.unblock });
    return {};
  }
  const schemas = [ListBlocksRequestSchema, ListBlocksResponseSchema] as const;
  return pageOf(await queries.ask("ListBlocks", ...schemas, { afterUserId: asked.above }));
}

function pageOf({ blocks, hasMore }: ListBlocksResponse): Answered {
  const blocked = blocks.map(({ userId, blockedAtMs }) => ({
    userId,
    at: new Date(Number(blockedAtMs)),
  }));
  return { blocked, hasMore };
}
