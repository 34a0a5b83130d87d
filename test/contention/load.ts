import { randomUUID } from "node:crypto";
import type { Where } from "better-auth";
import type { Transaction } from "../fixtures/decoded-changes";
import { Deferred } from "../fixtures/deferred";
import { accept, createOrganization, invite, password, type TestUser } from "../fixtures/users";
import { createPool } from "../fixtures/postgres";
import { judge, type Verdict } from "./judge";
import { randomNumbers } from "./random";
import {
  createContendedDatabase,
  silent,
  startContendedServer,
  type ContendedServer,
  type ContendedServerOptions,
  type Isolation,
} from "./server";

export interface LoadOptions extends ContendedServerOptions {
  seconds: number;
  seed: number;
  twoServers?: boolean;
  isolation?: Isolation;
  /** Whether anybody joins whose user or organization is just being deleted. */
  joinsWhileDeleting?: boolean;
}

export interface LoadResult {
  readonly changes: number;
  readonly owed: number;
  readonly told: number;
  readonly verdict: Verdict;
  readonly deadlocks: number;
  /** Changes that failed, and answers from 500 on, but for what is rolled back on purpose. */
  readonly failed: number;
}

const clients = 20;
const users = 8;
const organizations = 4;

/**
 * Has 20 clients change a few users and organizations at random for some seconds, and compares what
 * was told with PostgreSQL's own log.
 */
export async function runLoad(serverUrl: string, options: LoadOptions): Promise<LoadResult> {
  const deferred = new Deferred();
  try {
    return await run(serverUrl, deferred, options);
  } finally {
    await deferred.run();
  }
}

/** The same load on servers that tell nothing, to compare the deadlocks with. */
export function runSilentLoad(serverUrl: string, options: LoadOptions): Promise<LoadResult> {
  return runLoad(serverUrl, { ...options, plugin: silent });
}

async function run(serverUrl: string, { defer }: Deferred, options: LoadOptions) {
  const { isolation, twoServers = false, seconds, seed, joinsWhileDeleting = false } = options;
  const database = await createContendedDatabase(serverUrl, defer, isolation);
  // What the servers have to themselves ends before the deadlocks are counted.
  const ofServers = new Deferred();
  defer(() => ofServers.run());
  const serverOptions = { connections: clients, ...options };
  const servers: ContendedServer[] = [];
  for (let index = 0; index < (twoServers ? 2 : 1); index++) {
    servers.push(await startContendedServer(database.url, ofServers.defer, serverOptions));
  }

  const world = new World(servers, joinsWhileDeleting);
  await world.build();
  await database.takeTransactions();
  for (const { told } of servers) told.length = 0;

  const committed: Transaction[] = [];
  const end = Date.now() + seconds * 1_000;
  let done = 0;
  const work = async (client: number) => {
    const random = randomNumbers(seed * 1_000 + client);
    while (Date.now() < end) {
      await world.change(random);
      done++;
    }
  };
  // PostgreSQL keeps its log until it is taken.
  const take = async () => {
    while (Date.now() < end) {
      committed.push(...(await database.takeTransactions()));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  };
  await Promise.all([take(), ...Array.from({ length: clients }, (_, client) => work(client))]);
  committed.push(...(await database.takeTransactions()));

  const told = servers.map((server) => server.told);
  await ofServers.run();
  return {
    changes: done,
    owed: judge(committed, []).lost.length,
    told: told.flat().length,
    verdict: judge(committed, told),
    deadlocks: await countDeadlocks(database.url),
    failed: world.failed,
  };
}

/** Sessions report theirs at their end, so they have to be over. */
async function countDeadlocks(databaseUrl: string): Promise<number> {
  const pool = createPool(databaseUrl, { max: 1 });
  const { rows } = await pool.query(
    "select deadlocks::int from pg_stat_database where datname = current_database()",
  );
  await pool.end();
  return rows[0].deadlocks;
}

export const faultsOf = ({ lost, doubled, false: wrong }: Verdict) =>
  lost.length + doubled.length + wrong.length;

/** A user or an organization; once it is deleted, another takes its place. */
class Place<Occupant> {
  joins = 0;
  deletions = 0;
  constructor(public occupant: Occupant) {}
}

const roles = ["member", "admin", "editor", "author"];
const byId = (id: string): Where[] => [{ field: "id", value: id }];
const model = "member";

class World {
  failed = 0;
  readonly #users: Place<TestUser>[] = [];
  readonly #organizations: Place<string>[] = [];
  #ada!: TestUser;

  constructor(
    readonly servers: readonly ContendedServer[],
    readonly joinsWhileDeleting: boolean,
  ) {}

  async build(): Promise<void> {
    this.#ada = await this.servers[0]!.signUp("Ada");
    for (let index = 0; index < users; index++) this.#users.push(new Place(await this.#person()));
    for (let index = 0; index < organizations; index++) {
      this.#organizations.push(new Place(await this.#organization()));
    }
  }

  /** Makes one change, whichever; that it fails is counted. */
  async change(random: () => number): Promise<void> {
    const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)]!;
    const server = pick(this.servers);
    const turn: Turn = {
      server,
      user: pick(this.#users),
      otherUser: pick(this.#users),
      organization: pick(this.#organizations),
      otherOrganization: pick(this.#organizations),
      role: pick(roles),
      otherRole: pick(roles),
      as: (person) => ({ ...person, client: person.client.at(server.url, server.fetch) }),
    };
    try {
      await this.#changes[pick(weighted)](turn);
    } catch (error) {
      if ((error as Error).message !== rolledBack) this.failed++;
    }
  }

  readonly #changes: Record<ChangeName, (turn: Turn) => Promise<unknown>> = {
    add: (turn) =>
      this.#join(turn, async ({ server, user, organization, role }) => {
        const body = { userId: user.occupant.userId, organizationId: organization.occupant, role };
        // That they are a member already is no failure.
        await server.auth.api["addMember"]!({ body }).catch(ignoreRefusal);
      }),
    accept: (turn) =>
      this.#join(turn, async ({ as, user, organization, role }) => {
        const ada = as(this.#ada);
        const { email } = user.occupant;
        const known = ["member", "admin"].includes(role) ? role : "member";
        const invitation = await invite(ada, organization.occupant, email, known).catch(() => "");
        if (invitation) this.#check(await accept(as(user.occupant), invitation));
      }),
    promote: async ({ server, as, user, organization, role }) => {
      const memberId = await this.#memberId(server, user, organization);
      if (!memberId) return;
      const body = { organizationId: organization.occupant, memberId, role: known(role) };
      this.#check(await as(this.#ada).client.post("/organization/update-member-role", body));
    },
    update: async ({ server, user, organization, role }) => {
      const memberId = await this.#memberId(server, user, organization);
      if (memberId) await server.adapter.update({ model, where: byId(memberId), update: { role } });
    },
    increment: async ({ server, user, organization, role }) => {
      const memberId = await this.#memberId(server, user, organization);
      if (!memberId) return;
      const where = byId(memberId);
      await server.adapter.incrementOne({ model, where, increment: {}, set: { role } });
    },
    updateMany: ({ server, organization, role, otherRole }) =>
      server.adapter.updateMany({
        model,
        where: [...of(organization), { field: "role", value: otherRole }],
        update: { role },
      }),
    move: (turn) =>
      this.#join(
        { ...turn, organization: turn.otherOrganization },
        async ({ server, user, otherOrganization }) => {
          const memberId = await this.#memberId(server, user, turn.organization);
          const update = { organizationId: otherOrganization.occupant };
          if (memberId) await server.adapter.update({ model, where: byId(memberId), update });
        },
      ),
    give: (turn) =>
      this.#join({ ...turn, user: turn.otherUser }, async ({ server, otherUser, organization }) => {
        const memberId = await this.#memberId(server, turn.user, organization);
        const update = { userId: otherUser.occupant.userId };
        if (memberId) await server.adapter.update({ model, where: byId(memberId), update });
      }),
    remove: async ({ as, user, organization }) => {
      const body = { organizationId: organization.occupant, memberIdOrEmail: user.occupant.email };
      this.#check(await as(this.#ada).client.post("/organization/remove-member", body));
    },
    leave: async ({ as, user, organization }) => {
      const body = { organizationId: organization.occupant };
      this.#check(await as(user.occupant).client.post("/organization/leave", body));
    },
    delete: ({ server, user, organization }) =>
      server.adapter.delete({ model, where: ofBoth(user, organization) }),
    consume: ({ server, user, organization }) =>
      server.adapter.consumeOne({ model, where: ofBoth(user, organization) }),
    deleteMany: ({ server, organization, role }) =>
      server.adapter.deleteMany({
        model,
        where: [...of(organization), { field: "role", value: role }],
      }),
    deleteAccount: (turn) =>
      this.#deleteUsers([turn.user], async ([person]) => {
        this.#check(await turn.as(person!).client.post("/delete-user", { password }));
      }),
    deleteUser: (turn) =>
      this.#deleteUsers([turn.user], ([person]) =>
        turn.server.context.internalAdapter.deleteUser(person!.userId),
      ),
    deleteUsers: (turn) =>
      this.#deleteUsers([turn.user, turn.otherUser], (people) =>
        turn.server.adapter.deleteMany({
          model: "user",
          where: [{ field: "id", operator: "in", value: people.map(({ userId }) => userId) }],
        }),
      ),
    deleteOrganization: (turn) =>
      this.#deleteOrganization(turn.organization, async (organizationId) => {
        const { client } = turn.as(this.#ada);
        this.#check(await client.post("/organization/delete", { organizationId }));
      }),
    deleteOrganizations: (turn) =>
      this.#deleteOrganization(turn.organization, (organizationId) =>
        turn.server.adapter.deleteMany({ model: "organization", where: byId(organizationId) }),
      ),
    transaction: (turn) => this.#transaction(turn, false),
    rollback: (turn) => this.#transaction(turn, true),
  };

  #transaction(turn: Turn, fails: boolean) {
    const { server, user, otherUser, organization, role } = turn;
    return server.adapter.transaction(async (transaction) => {
      const update = { role };
      await transaction.updateMany({ model, where: ofBoth(user, organization), update });
      await transaction.deleteMany({ model, where: ofBoth(otherUser, organization) });
      if (fails) throw new Error(rolledBack);
    });
  }

  async #join(turn: Turn, join: (turn: Turn) => Promise<unknown>): Promise<void> {
    const places = [turn.user, turn.organization];
    if (!this.joinsWhileDeleting && places.some(({ deletions }) => deletions > 0)) return;
    for (const place of places) place.joins++;
    try {
      await join(turn);
    } finally {
      for (const place of places) place.joins--;
    }
  }

  async #deleteUsers(
    places: readonly Place<TestUser>[],
    deletion: (people: TestUser[]) => Promise<unknown>,
  ) {
    const people = places.map(({ occupant }) => occupant);
    const replace = async (place: Place<TestUser>, index: number) => {
      const person = await this.#person();
      if (place.occupant === people[index]) place.occupant = person;
    };
    await this.#delete(places, () => deletion(people), replace);
  }

  async #deleteOrganization(
    place: Place<string>,
    deletion: (organizationId: string) => Promise<unknown>,
  ) {
    const { occupant } = place;
    await this.#delete(
      [place],
      () => deletion(occupant),
      async () => {
        const organizationId = await this.#organization();
        if (place.occupant === occupant) place.occupant = organizationId;
      },
    );
  }

  async #delete<Occupant>(
    places: readonly Place<Occupant>[],
    deletion: () => Promise<unknown>,
    replace: (place: Place<Occupant>, index: number) => Promise<void>,
  ): Promise<void> {
    if (!this.joinsWhileDeleting && places.some(({ joins }) => joins > 0)) return;
    for (const place of places) place.deletions++;
    try {
      await deletion();
      await Promise.all(places.map(replace));
    } finally {
      for (const place of places) place.deletions--;
    }
  }

  async #memberId(
    { adapter }: ContendedServer,
    user: Place<TestUser>,
    organization: Place<string>,
  ) {
    const where = ofBoth(user, organization);
    return (await adapter.findOne<{ id: string }>({ model, where }))?.id;
  }

  #check({ status }: { status: number }): void {
    if (status >= 500) this.failed++;
  }

  #person(): Promise<TestUser> {
    return this.servers[0]!.signUp("Guest");
  }

  #organization(): Promise<string> {
    return createOrganization(this.#ada, `guild-${randomUUID()}`);
  }
}

interface Turn {
  readonly server: ContendedServer;
  readonly user: Place<TestUser>;
  readonly otherUser: Place<TestUser>;
  readonly organization: Place<string>;
  readonly otherOrganization: Place<string>;
  readonly role: string;
  readonly otherRole: string;
  /** The same person at the server of this turn. */
  as(person: TestUser): TestUser;
}

const rolledBack = "rolled back on purpose";

/** How often each change comes, of a hundred or so. */
const weights = {
  add: 22,
  accept: 6,
  promote: 8,
  update: 8,
  increment: 3,
  updateMany: 5,
  move: 4,
  give: 4,
  remove: 8,
  leave: 3,
  delete: 6,
  consume: 3,
  deleteMany: 4,
  deleteAccount: 2,
  deleteUser: 2,
  deleteUsers: 1,
  deleteOrganization: 2,
  deleteOrganizations: 1,
  transaction: 3,
  rollback: 1,
};
type ChangeName = keyof typeof weights;
const weighted = Object.entries(weights).flatMap(([name, weight]) =>
  Array<ChangeName>(weight).fill(name as ChangeName),
);

const of = ({ occupant }: Place<string>): Where[] => [{ field: "organizationId", value: occupant }];
const ofBoth = (user: Place<TestUser>, organization: Place<string>): Where[] => [
  ...of(organization),
  { field: "userId", value: user.occupant.userId },
];

/** Routes know no other roles. */
const known = (role: string) => (role === "member" ? "member" : "admin");

function ignoreRefusal(error: { status?: string; statusCode?: number }): void {
  if (error.statusCode === undefined || error.statusCode >= 500) throw error;
}
