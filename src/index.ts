export { EventBus, type EventHandler, type Logger } from "./event-bus";
export { getBus, type AuthContext } from "./get-bus";
export type { EventName, EventPayload, Events, MemberEvent, UserEvent } from "./events";
