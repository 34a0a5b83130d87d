import { standardEvents } from "../examples/standard-events";
import type { Answer } from "../fixtures/client";
import { startDecoding } from "../fixtures/decoded-changes";
import type { Defer } from "../fixtures/deferred";
import { createDatabase, startEmbeddedPostgres } from "../fixtures/postgres";
import { heading, table } from "../fixtures/print";
import { accept, invite, type TestUser } from "../fixtures/users";
import {
  deleteAccount,
  deleteOrganization,
  leave,
  remove,
} from "../membership-changes/membership-change";
import { Recorder } from "../membership-changes/observe";
import { startPostgresServer } from "../membership-changes/server";
import { compare, eventsOf } from "./compare";
import { createRandom, type Load } from "./seeded-random";

const clients = 20;
/** The share of events that may be wrong: two requests that change one row at the same moment. */
const tolerated = 0.02;

type MakeRequest = (
  user: TestUser,
  organizationId: string,
  role: string,
) => Promise<Answer | undefined>;

/**
 * Has 20 clients change 8 users and 3 organizations at random, by routes, and compares the events with
 * what PostgreSQL's log says was committed.
 */
export async function requestAtRandom({ seconds, seed }: Load, defer: Defer): Promise<boolean> {
  heading(`${seconds} seconds of requests at the same time, seed ${seed}`);
  const { url } = await startEmbeddedPostgres(defer);
  const databaseUrl = await createDatabase(url, defer);
  const recorder = new Recorder();
  const plugins = [standardEvents(), recorder.plugin()];
  const server = await startPostgresServer(defer, { databaseUrl, connections: clients, plugins });
  recorder.server = server;
  const { ada, organization } = server;
  const createUser = () => server.signUp("Guest");
  const users = await Promise.all(Array.from({ length: 8 }, createUser));
  const organizations = await Promise.all(Array.from({ length: 3 }, organization));
  const { takeTransactions } = await startDecoding(server.outside);
  recorder.clear();

  // Joining an organization that is being deleted is not covered.
  const joins = new Set<unknown[]>();
  const deleted = new Set<unknown>();
  const requests: [weight: number, MakeRequest][] = [
    [36, join],
    [30, setRole],
    [14, (user, organizationId) => remove(ada, organizationId, user.email)],
    [12, leave],
    [5, (user) => replace(users, user, () => deleteAccount(user), createUser)],
    [3, (_, id) => replace(organizations, id, () => deleteOrganization(ada, id), organization)],
  ];
  let made = 0;
  let failed = 0;
  const end = Date.now() + seconds * 1_000;
  const makeRequests = async (client: number) => {
    const { pick, pickWeighted } = createRandom(`${seed} ${client}`);
    for (; Date.now() < end; made++) {
      const request = pickWeighted(requests);
      const role = pick(["member", "admin", "owner"]);
      const answer = await request(pick(users), pick(organizations), role);
      if (answer && answer.status >= 500) failed++;
    }
  };
  const { error } = console;
  // Better Auth prints each answer from 500 on, which is counted here.
  console.error = () => {};
  await Promise.all(Array.from({ length: clients }, (_, client) => makeRequests(client)));
  console.error = error;

  const comparison = compare(eventsOf(await takeTransactions()), recorder.events);
  const { expected, lost, doubled, false: wrong } = comparison;
  table({ requests: made, failed, ...comparison });
  return expected > 0 && lost + doubled + wrong <= expected * tolerated;

  async function join(user: TestUser, organizationId: string, role: string) {
    if (deleted.has(user) || deleted.has(organizationId)) return undefined;
    const join = [user, organizationId];
    joins.add(join);
    // Who is a member is not invited.
    const invitationId = await invite(ada, organizationId, user.email, role).catch(() => undefined);
    const answer = invitationId === undefined ? undefined : await accept(user, invitationId);
    joins.delete(join);
    return answer;
  }

  async function setRole({ userId }: TestUser, organizationId: string, role: string) {
    const path = `/api/auth/organization/list-members?organizationId=${organizationId}`;
    const { body } = await ada.client.get(`${server.url}${path}`);
    const members: { id: string; userId: string }[] = body?.members ?? [];
    const memberId = members.find((member) => member.userId === userId)?.id;
    const change = { organizationId, memberId, role };
    return memberId ? ada.client.post("/organization/update-member-role", change) : undefined;
  }

  /** Deletes one, which others may still change, and has another take its place. */
  async function replace<Item>(
    items: Item[],
    item: Item,
    deleteItem: () => Promise<Answer>,
    create: () => Promise<Item>,
  ): Promise<Answer | undefined> {
    if ([...joins].some((join) => join.includes(item))) return undefined;
    deleted.add(item);
    const answer = await deleteItem();
    const another = await create();
    if (items.includes(item)) items[items.indexOf(item)] = another;
    return answer;
  }
}
