import { randomUUID } from "node:crypto";
import { Client, type Answer } from "./client";

export interface Person {
  readonly name: string;
  readonly email: string;
  readonly userId: string;
  readonly client: Client;
}

export const password = "correct horse battery staple";

export async function signUp(url: string, name: string, client = new Client(url)): Promise<Person> {
  const email = `${name.toLowerCase()}-${randomUUID()}@example.com`;
  const { body } = must(await client.post("/sign-up/email", { name, email, password }));
  return { name, email, userId: body.user.id, client };
}

/** Returns the organization's id. */
export async function createOrganization(owner: Person, name: string): Promise<string> {
  const { body } = must(
    await owner.client.post("/organization/create", { name, slug: `${name}-${randomUUID()}` }),
  );
  return body.id;
}

/** Returns the invitation's id. */
export async function invite(
  inviter: Person,
  organizationId: string,
  email: string,
  role = "member",
): Promise<string> {
  const { body } = must(
    await inviter.client.post("/organization/invite-member", { organizationId, email, role }),
  );
  return body.id;
}

export function accept(person: Person, invitationId: string): Promise<Answer> {
  return person.client.post("/organization/accept-invitation", { invitationId });
}

/** Signs somebody up and makes them a member. */
export async function join(inviter: Person, organizationId: string, name: string, role?: string) {
  const person = await signUp(inviter.client.url, name);
  const invitationId = await invite(inviter, organizationId, person.email, role);
  const { body } = must(await accept(person, invitationId));
  return { ...person, memberId: body.member.id as string };
}

/** Returns the answer of a request that is not the point, and throws if it failed. */
export function must(answer: Answer): Answer {
  if (answer.status !== 200) {
    throw new Error(`answered ${answer.status}: ${JSON.stringify(answer.body)}`);
  }
  return answer;
}
