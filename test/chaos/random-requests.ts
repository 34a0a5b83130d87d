import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { startDecoding } from "../fixtures/decoded-changes";
import type { Answer } from "../fixtures/client";
import { createDatabase, startEmbeddedPostgres } from "../fixtures/postgres";
import { heading, table } from "../fixtures/print";
import { runDemo } from "../fixtures/run-demo";
import { accept, createOrganization, invite, signUp, type TestUser } from "../fixtures/users";
import { standardEvents } from "../examples/standard-events";
import {
  deleteAccount,
  deleteOrganization,
  leave,
  remove,
} from "../membership-changes/membership-change";
import { Recorder } from "../membership-changes/observe";
import { startPostgresServer } from "../membership-changes/server";
import { compare, eventsOf } from "./compare";
import { createRandom, type Random } from "./seeded-random";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: String(Date.now()) },
  },
});

const clients = 20;
const users = 8;
const organizations = 3;
/** The share of events that may be wrong: two requests that change one row at the same moment. */
const tolerated = 0.01;

/** A user or an organization, of which another takes the place once it is deleted. */
class Place<Occupant> {
  joins = 0;
  deletions = 0;
  constructor(public occupant: Occupant) {}
}

class World {
  requests = 0;
  failed = 0;
  readonly #users: Place<TestUser>[] = [];
  readonly #organizations: Place<string>[] = [];

  constructor(
    readonly url: string,
    readonly ada: TestUser,
  ) {}

  async create(): Promise<void> {
    for (let index = 0; index < users; index++) {
      this.#users.push(new Place(await this.#createUser()));
    }
    for (let index = 0; index < organizations; index++) {
      this.#organizations.push(new Place(await this.#createOrganization()));
    }
  }

  /** Makes one request, whichever. */
  async request({ pick }: Random): Promise<void> {
    const user = pick(this.#users);
    const organization = pick(this.#organizations);
    const answer = await this.#requests[pick(weighted)](user, organization, pick(roles));
    this.requests++;
    if (answer && answer.status >= 500) this.failed++;
  }

  readonly #requests: Record<Request, MakeRequest> = {
    join: (user, organization, role) =>
      // Who joins what is being deleted is not covered.
      this.#unlessDeleted([user, organization], async () => {
        const { email } = user.occupant;
        const invitationId = await invite(this.ada, organization.occupant, email, role).catch(
          () => "",
        );
        return invitationId ? accept(user.occupant, invitationId) : undefined;
      }),
    setRole: async (user, { occupant: organizationId }, role) => {
      const memberId = await this.#memberId(user.occupant, organizationId);
      const body = { organizationId, memberId, role };
      return memberId ? this.ada.client.post("/organization/update-member-role", body) : undefined;
    },
    remove: (user, organization) => remove(this.ada, organization.occupant, user.occupant.email),
    leave: (user, organization) => leave(user.occupant, organization.occupant),
    deleteAccount: (user) => this.#delete(user, deleteAccount, () => this.#createUser()),
    deleteOrganization: (_, organization) =>
      this.#delete(
        organization,
        (organizationId) => deleteOrganization(this.ada, organizationId),
        () => this.#createOrganization(),
      ),
  };

  async #unlessDeleted(places: readonly Place<unknown>[], join: () => Promise<Answer | undefined>) {
    if (places.some(({ deletions }) => deletions > 0)) return undefined;
    for (const place of places) place.joins++;
    return join().finally(() => {
      for (const place of places) place.joins--;
    });
  }

  async #delete<Occupant>(
    place: Place<Occupant>,
    deleteOccupant: (occupant: Occupant) => Promise<Answer>,
    create: () => Promise<Occupant>,
  ): Promise<Answer | undefined> {
    if (place.joins > 0) return undefined;
    const { occupant } = place;
    place.deletions++;
    try {
      const answer = await deleteOccupant(occupant);
      const next = await create();
      if (place.occupant === occupant) place.occupant = next;
      return answer;
    } finally {
      place.deletions--;
    }
  }

  async #memberId({ userId }: TestUser, organizationId: string): Promise<string | undefined> {
    const query = `organizationId=${organizationId}`;
    const { body } = await this.ada.client.get(
      `${this.url}/api/auth/organization/list-members?${query}`,
    );
    const members: { id: string; userId: string }[] = body?.members ?? [];
    return members.find((member) => member.userId === userId)?.id;
  }

  #createUser(): Promise<TestUser> {
    return signUp(this.url, "Guest");
  }

  #createOrganization(): Promise<string> {
    return createOrganization(this.ada, `guild-${randomUUID()}`);
  }
}

type MakeRequest = (
  user: Place<TestUser>,
  organization: Place<string>,
  role: string,
) => Promise<Answer | undefined>;

const roles = ["member", "admin", "owner"];

/** How often each request is made, of a hundred. */
const weights = {
  join: 36,
  setRole: 30,
  remove: 14,
  leave: 12,
  deleteAccount: 5,
  deleteOrganization: 3,
};
type Request = keyof typeof weights;
const weighted = Object.entries(weights).flatMap(([request, weight]) =>
  Array<Request>(weight).fill(request as Request),
);

/**
 * Has 20 clients change 8 users and 3 organizations at random, by routes, and compares the events with
 * what PostgreSQL's log says was committed.
 */
await runDemo(async (defer) => {
  heading(`${values.seconds} seconds of requests at the same time, seed ${values.seed}`);
  const { url } = await startEmbeddedPostgres(defer);
  const databaseUrl = await createDatabase(url, defer);
  const recorder = new Recorder();
  const plugins = [standardEvents(), recorder.plugin()];
  const server = await startPostgresServer(defer, { databaseUrl, connections: clients, plugins });
  recorder.server = server;
  const world = new World(server.url, server.ada);
  await world.create();
  const { takeTransactions } = await startDecoding(server.outside);
  recorder.clear();

  const end = Date.now() + Number(values.seconds) * 1_000;
  const work = async (client: number) => {
    const random = createRandom(`${values.seed} ${client}`);
    while (Date.now() < end) await world.request(random);
  };
  await Promise.all(Array.from({ length: clients }, (_, client) => work(client)));

  const comparison = compare(eventsOf(await takeTransactions()), recorder.events);
  const { expected, lost, doubled, false: wrong } = comparison;
  table({ requests: world.requests, failed: world.failed, ...comparison });
  return expected > 0 && lost + doubled + wrong <= expected * tolerated;
});
