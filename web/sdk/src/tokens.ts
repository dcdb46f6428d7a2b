import { ParleyError, asParleyError } from "./errors.js";

/** What is read from a token. It is the server that checks it. */
interface Claims {
  sub: string;
  exp?: number;
}

function claimsOf(token: string): Claims {
  try {
    const part = token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Claims;
    if (typeof claims.sub === "string" && claims.sub) return claims;
  } catch {
    // said below
  }
  throw new ParleyError("token", "token() gave what is not a JWT with a sub");
}

/** A token, and until when it holds by this machine's clock. */
export interface Token {
  text: string;
  userId: string;
  expiresAt: number;
}

/** The token at hand. The app is asked for one at a time. */
export class Tokens {
  #now?: Token;
  #asking: Promise<Token> | undefined;
  #refused = "";

  constructor(private readonly ask: () => Promise<string>) {}

  /** Asks the app. Callers that come meanwhile get the same answer. */
  fresh(): Promise<Token> {
    return (this.#asking ??= this.#fetch().finally(() => (this.#asking = undefined)));
  }

  async #fetch(): Promise<Token> {
    let text: string;
    try {
      text = await this.ask();
    } catch (err) {
      throw new ParleyError("token", `token() failed: ${asParleyError(err).message}`);
    }
    const { sub, exp } = claimsOf(String(text));
    // One that is new and has ended: by a clock that is wrong, as far as can be
    // known here. The server says when it really ends.
    const ends = (exp ?? Infinity) * 1000;
    const token = { text, userId: sub, expiresAt: ends > Date.now() ? ends : Infinity };
    if (this.#now && this.#now.userId !== sub) {
      throw new ParleyError("forbidden", "token() gave the token of another user; make a new client for it");
    }
    return (this.#now = token);
  }

  /** One to ask with: that at hand, unless it has ended or was refused. */
  async current(): Promise<Token> {
    const now = this.#now;
    if (now && now.expiresAt > Date.now() + 1000 && now.text !== this.#refused) return now;
    return this.fresh();
  }

  /** The server does not take this one. */
  refuse(token: Token): void {
    this.#refused = token.text;
  }

  refused(token: Token): boolean {
    return token.text === this.#refused;
  }
}
