export interface Answer {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- each route answers with another shape
  readonly body: any;
}

/** A browser's part: sends JSON to the auth server and keeps its cookies. */
export class Client {
  readonly #cookies = new Map<string, string>();

  constructor(readonly url: string) {}

  post(path: string, body: object = {}, headers?: Record<string, string>): Promise<Answer> {
    return this.#send(`${this.url}/api/auth${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
  }

  /** Follows a link, but no redirect. */
  get(url: string): Promise<Answer> {
    return this.#send(url, { redirect: "manual" });
  }

  async #send(url: string, request: RequestInit): Promise<Answer> {
    const cookie = [...this.#cookies].map((cookie) => cookie.join("=")).join("; ");
    const response = await fetch(url, {
      ...request,
      headers: { ...request.headers, origin: this.url, cookie },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (name !== undefined && value !== undefined) this.#cookies.set(name, value);
    }
    const text = await response.text();
    return { status: response.status, body: text === "" ? undefined : JSON.parse(text) };
  }
}
