/**
 * What happened to a member of an organization: the payload of `organization.member.*`.
 *
 * @typeParam Action - what it was; any of the three by default.
 */
export interface MemberEvent<Action extends MemberAction = MemberAction> {
  readonly organizationId: string;
  readonly userId: string;
  /** The member's role after the change; for `"removed"`, the role the member had. */
  readonly role: string;
  readonly action: Action;
}

type MemberAction = "added" | "removed" | "updated";

/** What happened to a user: the payload of `user.deleted`. */
export interface UserEvent {
  readonly userId: string;
  readonly action: "deleted";
}

declare global {
  /**
   * The events that plugins declare, each with its payload. It is global so that all see it: this
   * package's ES module and its CommonJS module, and any other version of it, each have an
   * {@link Events} of their own.
   *
   * @example
   * ```ts
   * declare global {
   *   interface KerniaEvents {
   *     "billing.invoice.paid": { readonly invoiceId: string; readonly amount: number };
   *   }
   * }
   * ```
   */
  interface KerniaEvents {}
}

/**
 * The map from event name to payload: the four standard events, and those that plugins declare in
 * the global interface `KerniaEvents`, so that emitting and subscribing are type-checked.
 */
export interface Events extends KerniaEvents {
  "organization.member.added": MemberEvent<"added">;
  "organization.member.removed": MemberEvent<"removed">;
  "organization.member.updated": MemberEvent<"updated">;
  "user.deleted": UserEvent;
}

/** The name of an event: any string. Editors complete the names that {@link Events} declares. */
export type EventName = keyof Events | (string & {});

/**
 * The payload of the event called `Name`: what {@link Events} declares for it, or `Undeclared` for a
 * name without a declaration.
 */
export type EventPayload<Name extends EventName, Undeclared = unknown> = Name extends keyof Events
  ? Events[Name]
  : Undeclared;
