export interface Answer {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- each route answers with another shape
  readonly body: any;
  /** Where a redirect leads. */
  readonly location?: string;
}

/** A browser's part: sends JSON to the auth server and keeps its cookies. */
export class Client {
  readonly #cookies = new Map<string, string>();

  constructor(
    readonly url: string,
    /** A handler in this process, say. */
    readonly fetch: (url: string, request: RequestInit) => Promise<Response> = globalThis.fetch,
  ) {}

  post(path: string, body: object = {}, headers?: Record<string, string>): Promise<Answer> {
    return this.send("POST", path, body, headers);
  }

  send(
    method: string,
    path: string,
    body: object,
    headers?: Record<string, string>,
  ): Promise<Answer> {
    return this.#send(`${this.url}/api/auth${path}`, {
      method,
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
  }

  /** The same browser at another server, where its cookies are good too. */
  at(url: string, fetch = this.fetch): Client {
    const client = new Client(url, fetch);
    for (const [name, value] of this.#cookies) client.#cookies.set(name, value);
    return client;
  }

  /** The headers of its requests, for a server-side call in its name. */
  get headers(): Headers {
    return new Headers({ origin: this.url, cookie: this.#cookie });
  }

  /** Follows a link, but no redirect. */
  get(url: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.#send(url, { redirect: "manual", headers });
  }

  get #cookie(): string {
    return [...this.#cookies].map((cookie) => cookie.join("=")).join("; ");
  }

  async #send(url: string, request: RequestInit): Promise<Answer> {
    const response = await this.fetch(url, {
      ...request,
      headers: { ...request.headers, origin: this.url, cookie: this.#cookie },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (name !== undefined && value !== undefined) this.#cookies.set(name, value);
    }
    const text = await response.text();
    const location = response.headers.get("location");
    return {
      status: response.status,
      body: text === "" ? undefined : JSON.parse(text),
      ...(location !== null && { location }),
    };
  }
}
