import { withDeferred, type Defer } from "../../fixtures/deferred";
import type { Answer, Client } from "../../fixtures/client";
import { password } from "../../fixtures/users";
import { Recorder } from "../../membership-changes/recorder";
import { startServer, type Member, type Server } from "../../membership-changes/server";
import { wrongWith, type Told } from "../../membership-changes/expected";
import { standardEvents } from "../../examples/standard-events";
import type { Engine } from "./engine";
import { codeOf, list } from "./outcome";
import { startPeer } from "./peer";
import { randomFrom } from "./random";

const rounds = 30;
const membersPerRound = 6;
const changesPerRound = 9;

export interface Contention {
  readonly rounds: number;
  /** A line for each round in which what was told does not lead to what the tables say. */
  readonly wrong: readonly string[];
  /** Requests and calls that failed, other than by an answer meant so. */
  readonly failed: number;
  readonly requests: number;
  /** What they failed with, and how often. */
  readonly codes: Readonly<Record<string, number>>;
}

/** Many change the same few members at once, on two servers where the database allows for two. */
export function contend(engine: Engine, withPlugin: boolean, seed: number): Promise<Contention> {
  return withDeferred((defer) => contendOn(defer, engine, withPlugin, seed));
}

async function contendOn(
  defer: Defer,
  engine: Engine,
  withPlugin: boolean,
  seed: number,
): Promise<Contention> {
  const recorder = new Recorder();
  const location = await engine.create(defer);
  const database = await engine.open(location, defer);
  const plugins = withPlugin ? [recorder.plugin(), standardEvents()] : [];
  const server = await startServer(defer, database, { plugins });
  const peer = engine.shared
    ? await startPeer(defer, { engine: engine.name, location, withPlugin })
    : undefined;
  const random = randomFrom(seed);
  const wrong: string[] = [];
  const codes: Record<string, number> = {};
  let [failed, requests] = [0, 0];

  for (let round = 1; round <= rounds; round++) {
    const organizationId = await server.organization();
    const members: Member[] = [];
    for (let index = 0; index < membersPerRound; index++) {
      members.push(await server.join(organizationId, random.pick(["member", "admin"])));
    }
    // Without transactions, several servers are promised nothing about what concerns many rows.
    const singleRows = peer !== undefined && !database.transactions && round % 2 === 0;
    const url = database.transactions || singleRows ? peer?.url : undefined;
    const at = (client: Client) => (url && random.chance(0.5) ? client.at(url) : client);
    const kinds = singleRows ? "single rows" : round % 3 === 0 ? "deletions" : "all";
    const changes = changesOf(server, organizationId, members, kinds, random, at);
    const before = await database.outside.readTables();
    recorder.begin();
    await peer?.take();
    server.errors.length = 0;
    const answers = await Promise.allSettled(changes.map((change) => change()));
    const far = (await peer?.take()) ?? { told: [], errors: [] };
    const told: Told[] = [...recorder.end(), ...far.told];
    const after = await database.outside.readTables();

    requests += answers.length;
    const rejections = answers.flatMap((answer) =>
      answer.status === "rejected" ? [codeOf(answer.reason)] : [],
    );
    failed += rejections.length;
    failed += answers.filter(
      (answer) => answer.status === "fulfilled" && (answer.value?.status ?? 200) >= 500,
    ).length;
    for (const code of [...rejections, ...server.errors.map(codeOf), ...far.errors]) {
      codes[code] = (codes[code] ?? 0) + 1;
    }
    const keys = withPlugin ? wrongWith(before, told, after) : [];
    if (keys.length > 0) {
      const about = told.filter(([, payload]) => keys.some((key) => key.includes(payload.userId)));
      wrong.push(`round ${round}: ${keys.length} wrong; told of them ${list(about)}`);
    }
  }
  return { rounds, wrong, failed, requests, codes };
}

type Change = () => Promise<Answer | undefined>;

/** What happens at once in a round; deletions are of users and their organization. */
function changesOf(
  server: Server,
  organizationId: string,
  members: readonly Member[],
  what: "all" | "deletions" | "single rows",
  random: ReturnType<typeof randomFrom>,
  at: (client: Client) => Client,
): Change[] {
  const { ada, root, adapter } = server;
  const deleteAccount = ({ client }: Member): Change => {
    const browser = at(client);
    return () => browser.post("/delete-user", { password });
  };
  const deleteOrganization: Change = (() => {
    const browser = at(ada.client);
    return () => browser.post("/organization/delete", { organizationId });
  })();
  if (what === "deletions") {
    return random.shuffle([...members.slice(0, 4).map(deleteAccount), deleteOrganization]);
  }

  const where = [
    { field: "organizationId", value: organizationId },
    { field: "role", value: random.pick(["member", "admin"]) },
  ];
  const ofOneRow: ((member: Member) => Change)[] = [
    ({ memberId }) => {
      const [browser, role] = [at(ada.client), random.pick(["member", "admin", "owner"])];
      const body = { organizationId, memberId, role };
      return () => browser.post("/organization/update-member-role", body);
    },
    ({ memberId }) => {
      const browser = at(ada.client);
      const body = { organizationId, memberIdOrEmail: memberId };
      return () => browser.post("/organization/remove-member", body);
    },
    ({ client }) => {
      const browser = at(client);
      return () => browser.post("/organization/leave", { organizationId });
    },
  ];
  const kinds: ((member: Member) => Change)[] = [
    ...ofOneRow,
    deleteAccount,
    ({ userId }) => {
      const browser = at(root.client);
      return () => browser.post("/admin/remove-user", { userId });
    },
    () => async () => {
      await adapter.updateMany({ model: "member", where, update: { role: "editor" } });
      return undefined;
    },
    () => async () => {
      await adapter.deleteMany({ model: "member", where });
      return undefined;
    },
  ];
  // Few members for many changes, so that they meet.
  const few = members.slice(0, 3);
  const changes = Array.from({ length: changesPerRound }, () =>
    random.pick(what === "all" ? [...ofOneRow, ...kinds] : ofOneRow)(random.pick(few)),
  );
  return what === "all" && random.chance(0.2) ? [...changes, deleteOrganization] : changes;
}
