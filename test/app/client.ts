export interface Answer {
  readonly status: number;
  readonly body: any;
}

/** A browser's part: sends JSON to the auth server and keeps its cookies. */
export class Client {
  readonly #cookies = new Map<string, string>();

  constructor(readonly url: string) {}

  async post(
    path: string,
    body: object = {},
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await fetch(`${this.url}/api/auth${path}`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        origin: this.url,
        cookie: [...this.#cookies].map((cookie) => cookie.join("=")).join("; "),
        ...headers,
      },
      body: JSON.stringify(body),
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (name !== undefined && value !== undefined) this.#cookies.set(name, value);
    }
    const text = await response.text();
    return { status: response.status, body: text === "" ? undefined : JSON.parse(text) };
  }
}
