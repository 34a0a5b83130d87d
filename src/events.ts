/** What happened to a member of an organization: the payload of `organization.member.*`. */
export interface MemberEvent {
  readonly organizationId: string;
  readonly userId: string;
  /** The member's role after the change; for `"removed"`, the role the member had. */
  readonly role: string;
  readonly action: "added" | "removed" | "updated";
}

/** What happened to a user: the payload of `user.deleted`. */
export interface UserEvent {
  readonly userId: string;
  readonly action: "deleted";
}

/**
 * The map from event name to payload. It holds the four standard events; a plugin declares its own
 * by augmenting it, and from then on emitter and subscribers are checked.
 *
 * @example
 * ```ts
 * declare module "@kernia/events" {
 *   interface Events {
 *     "billing.invoice.paid": { readonly invoiceId: string; readonly amount: number };
 *   }
 * }
 * ```
 */
export interface Events {
  "organization.member.added": MemberEvent & { readonly action: "added" };
  "organization.member.removed": MemberEvent & { readonly action: "removed" };
  "organization.member.updated": MemberEvent & { readonly action: "updated" };
  "user.deleted": UserEvent;
}

/** The name of an event: any string. Editors complete the names that {@link Events} declares. */
export type EventName = keyof Events | (string & {});

/**
 * The payload of the event called `Name`: what {@link Events} declares for it, or `Undeclared` for a
 * name that nobody declared.
 */
export type EventPayload<Name extends EventName, Undeclared = unknown> = Name extends keyof Events
  ? Events[Name]
  : Undeclared;

/**
 * Is called with the payload and nothing else, and awaited if it returns a promise (or any
 * thenable). What it returns or resolves to is ignored.
 */
export type EventHandler<Payload> = (payload: Payload) => unknown;
