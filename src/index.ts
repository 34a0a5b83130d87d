export { EventBus } from "./event-bus";
export { getBus } from "./get-bus";
export type { AuthContext } from "./get-bus";
export type {
  EventHandler,
  EventName,
  EventPayload,
  Events,
  MemberEvent,
  UserEvent,
} from "./events";
export type { Logger } from "./logger";
