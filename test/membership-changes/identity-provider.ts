import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type { Defer } from "../fixtures/deferred";

/** Stands in for Okta and GitLab: says yes to any code, which is the address of who signs in. */
export async function startIdentityProvider(defer: Defer): Promise<string> {
  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  defer(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const email =
    new URLSearchParams(await text(request)).get("code") ??
    request.headers.authorization?.replace("Bearer ", "");
  const token = { access_token: email, token_type: "Bearer", expires_in: 3_600 };
  const profile = { sub: email, id: email, email, name: email, email_verified: true };
  const body = request.url?.endsWith("/token") ? token : { ...profile, state: "active" };
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}
