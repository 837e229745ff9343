/** Makes groups, and changes who belongs to them. */

import { checkGroup, checkOptions, checkRole, peopleIn } from "./arguments.js";
import type { Backend, SendOptions } from "./backend.js";
import { invalid } from "./errors.js";
import type { Init } from "./codec.js";
import type { Membership } from "./gen/cecochat/v1/events_pb.js";
import { type Group, type GroupOptions, type Member, type Role, roleNumber } from "./group.js";
import { newId } from "./newid.js";

type Post = (chatId: string, change: Init<Membership>, options: SendOptions) => Promise<bigint>;

/**
 * The groups of a user: `client.groups`. A group is named by its chat id, `g:` and its id.
 *
 *     const hikers = await alice.groups.create("Hikers", { members: ["bob", "carol"] });
 *     await alice.send(hikers, "Where to on Sunday?");
 *     await alice.groups.add(hikers, ["dave"]);
 *
 * Each change is sent like a message, and resolves with its id once it can no longer be lost. It
 * rejects with `not_found` if there is no such group for this user, and with `forbidden` if the
 * user's role allows less. One change may name 100 people.
 */
export class Groups {
  constructor(
    private readonly userId: string,
    private readonly backend: Backend,
    private readonly post: Post,
  ) {}

  /**
   * Make a group with these members besides this user, who owns it. Resolves with its chat id.
   * Nobody can guess the id, unless you give one. Rejects with `not_found` if a group of others has
   * that, and with `invalid_argument` if you belong to such a group, unless it is yours and has
   * these options: then nothing changes. To repeat it, pass the same `chatId` and
   * `clientMessageId`.
   */
  async create(
    name: string,
    options: SendOptions &
      Partial<Omit<GroupOptions, "name">> & {
        members?: readonly string[];
        invited?: readonly string[];
        chatId?: string;
      } = {},
  ): Promise<string> {
    const { members = [], invited = [], chatId = newGroup(this.userId) } = options;
    const wanted = { ...chosen(options), name };
    checkOptions(wanted);
    const [addedIds, invitedIds] = [peopleIn(members, 0), peopleIn(invited, 0)];
    await this.change(chatId, { addedIds, invitedIds, options: wanted, creates: true }, options);
    return chatId;
  }

  /** Make these users members. It takes an admin. */
  async add(chat: string, users: readonly string[], options: SendOptions = {}): Promise<bigint> {
    return this.change(chat, { addedIds: peopleIn(users) }, options);
  }

  /** Remove members, or withdraw their invitations. It takes an admin, and a role above theirs. */
  async remove(chat: string, users: readonly string[], options: SendOptions = {}): Promise<bigint> {
    return this.change(chat, { removedIds: peopleIn(users) }, options);
  }

  /** Keep these users out, members among them too. It takes an admin, and a role above theirs. */
  async ban(chat: string, users: readonly string[], options: SendOptions = {}): Promise<bigint> {
    return this.change(chat, { bannedIds: peopleIn(users) }, options);
  }

  /** Lift the ban of these users, who do not become members by that. It takes an admin. */
  async unban(chat: string, users: readonly string[], options: SendOptions = {}): Promise<bigint> {
    return this.change(chat, { unbannedIds: peopleIn(users) }, options);
  }

  /** Let these users join. It takes an admin. Nobody tells them: your application does. */
  async invite(chat: string, users: readonly string[], options: SendOptions = {}): Promise<bigint> {
    return this.change(chat, { invitedIds: peopleIn(users) }, options);
  }

  /** Become a member of a group that is open, or to which this user is invited. */
  async join(chat: string, options: SendOptions = {}): Promise<bigint> {
    return this.change(chat, { addedIds: [this.userId] }, options);
  }

  /** Leave a group. If its owner does, the admin who came first owns it, or else the member who did. */
  async leave(chat: string, options: SendOptions = {}): Promise<bigint> {
    return this.change(chat, { removedIds: [this.userId] }, options);
  }

  /**
   * Give a member another role. It takes the owner, who is an admin once there is another owner. To
   * mute a member, or make one who is muted a member again, takes an admin.
   */
  async appoint(
    chat: string,
    user: string,
    role: Role,
    options: SendOptions = {},
  ): Promise<bigint> {
    checkRole(role);
    const [userId] = peopleIn([user]);
    const appointments = [{ userId: userId!, role: roleNumber(role) }];
    return this.change(chat, { appointments }, options);
  }

  /** Call a group something else. It takes an admin. Works like `configure`. */
  async rename(chat: string, name: string, options: SendOptions = {}): Promise<bigint> {
    return this.configure(chat, { name }, options);
  }

  /**
   * Change options of a group. Anything but the name takes the owner. The other options are read
   * before: of two who do this at once, the later one decides all.
   */
  async configure(
    chat: string,
    wanted: Partial<GroupOptions>,
    options: SendOptions = {},
  ): Promise<bigint> {
    const given = chosen(wanted);
    if (!Object.keys(given).length) throw invalid("no option of a group is given");
    checkOptions(given);
    const { name, isChannel, isOpen, hidesPast } = await this.get(chat);
    return this.change(
      chat,
      { options: { name, isChannel, isOpen, hidesPast, ...given } },
      options,
    );
  }

  private async change(
    chat: string,
    change: Init<Membership>,
    options: SendOptions,
  ): Promise<bigint> {
    return this.post(checkGroup(chat), change, options);
  }

  /** Return what a group is, after all changes that have reached this client. */
  async get(chat: string): Promise<Group> {
    return this.backend.group(checkGroup(chat));
  }

  /** Go through all who belong to a group or are invited, by user id, as it is at one time. */
  async *members(chat: string): AsyncGenerator<Member, void> {
    const chatId = checkGroup(chat);
    let [after, asOf] = ["", 0n];
    for (let more = true; more;) {
      const page = await this.backend.members(chatId, after, asOf);
      yield* page.members;
      more = page.hasMore;
      after = page.members.at(-1)?.userId ?? after;
      asOf = page.asOf;
    }
  }
}

/** Return the options among what is given. */
function chosen(given: object): Partial<GroupOptions> {
  const names = ["name", "isChannel", "isOpen", "hidesPast"];
  const entries = Object.entries(given).filter(([name, value]) => {
    return names.includes(name) && value !== undefined;
  });
  return Object.fromEntries(entries);
}

function newGroup(userId: string): string {
  return `g:${userId.slice(0, userId.indexOf("/") + 1)}${newId()}`;
}
