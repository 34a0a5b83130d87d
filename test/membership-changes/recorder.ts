import { EventBus, getBus, type EventName, type EventPayload } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import type { Server } from "./server";
import type { Told } from "./expected";

/** Keeps what is emitted until a change is answered, and looks whether others can see it already. */
export class Recorder {
  readonly tooEarly: Told[] = [];
  /** How many events the handlers are done with. */
  handled = 0;
  #told: Told[] = [];
  #server: Server | undefined;

  plugin(): BetterAuthPlugin {
    const record = (told: Told) => this.#told.push(told);
    class RecordingBus extends EventBus {
      override emit<Name extends EventName>(event: Name, payload: EventPayload<Name>) {
        record([event, payload] as Told);
        return super.emit(event, payload);
      }
    }
    return {
      id: "recorder",
      init: (auth) => ({ context: { pluginState: { events: new RecordingBus(auth.logger) } } }),
    };
  }

  watch(server: Server): void {
    this.#server = server;
    const bus = getBus(server.context);
    bus.on("organization.member.added", (event) => this.#look("organization.member.added", event));
    bus.on("organization.member.removed", (event) =>
      this.#look("organization.member.removed", event),
    );
    bus.on("organization.member.updated", (event) =>
      this.#look("organization.member.updated", event),
    );
    bus.on("user.deleted", (event) => this.#look("user.deleted", event));
  }

  begin(): void {
    this.tooEarly.length = 0;
    this.handled = 0;
    this.#told = [];
  }

  end(): Told[] {
    const told = this.#told;
    this.#told = [];
    return told;
  }

  async #look(...[event, payload]: Told): Promise<void> {
    const { outside } = this.#server!.database;
    const { userId } = payload;
    const user = await outside.count("user", { id: userId });
    const member =
      "organizationId" in payload
        ? await outside.count("member", { organizationId: payload.organizationId, userId })
        : 0;
    const wrong =
      event === "user.deleted"
        ? user !== 0
        : member !== (event === "organization.member.removed" ? 0 : 1);
    if (wrong) this.tooEarly.push([event, payload] as Told);
    this.handled++;
  }
}
