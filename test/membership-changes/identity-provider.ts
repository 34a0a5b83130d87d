import type { IncomingMessage, ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import type { Defer } from "../fixtures/deferred";
import { serve } from "../fixtures/loopback";

/** Stands in for Okta and GitLab: says yes to any code, which is the address of who signs in. */
export async function startIdentityProvider(defer: Defer): Promise<string> {
  const { url, close } = await serve((request, response) => void answer(request, response));
  defer(close);
  return url;
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
