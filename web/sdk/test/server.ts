// The real server, as a child process, and tokens for it.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { createHmac } from "node:crypto";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const program = process.env["PARLEY_BIN"];
const secret = "a secret for tests, of 32 bytes or more";
export const patience = 30_000;

const b64 = (text: string) => Buffer.from(text).toString("base64url");
let tokens = 0;

/** A token of the user; ttl in seconds. Each is another one. */
export function token(sub: string, { ttl = 3600, scope = "", key = secret }: { ttl?: number; scope?: string; key?: string } = {}): string {
  const now = Date.now() / 1000;
  const claims = { sub, iat: Math.floor(now), exp: now + ttl, jti: String(++tokens), ...(scope && { scope }) };
  const text = `${b64(JSON.stringify({ alg: "HS256", typ: "JWT" }))}.${b64(JSON.stringify(claims))}`;
  return `${text}.${createHmac("sha256", key).update(text).digest("base64url")}`;
}

export class Server {
  /** Where it listens now: another port after each start. */
  port = 0;
  #child: ChildProcess | undefined;
  #log = "";
  readonly #dir = mkdtempSync(join(tmpdir(), "parley-sdk-"));

  constructor(private readonly env: Record<string, string> = {}) {}

  static async start(env: Record<string, string> = {}): Promise<Server> {
    const server = new Server(env);
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    if (!program) throw new Error("PARLEY_BIN does not say where the server's program is");
    const child = spawn(program, ["serve", "--mqtt-addr", "", "--http-addr", "127.0.0.1:0", "--data-dir", join(this.#dir, "data")], {
      cwd: this.#dir,
      env: { PATH: process.env["PATH"] ?? "", HOME: this.#dir, PARLEY_JWT_SECRET: secret, ...this.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    child.stderr!.on("data", (text) => (this.#log += text));
    let out = "";
    this.port = await new Promise<number>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the server does not start\n${out}\n${this.#log}`)), patience);
      child.stdout!.on("data", (text) => {
        out += text;
        const found = /HTTP +http:\/\/\S+:(\d+) /.exec(out);
        if (!found) return;
        clearTimeout(timer);
        resolve(Number(found[1]));
      });
      child.once("exit", (code) => reject(new Error(`the server ended with ${code}\n${this.#log}`)));
    });
    process.on("exit", this.#last);
  }

  readonly #last = () => void this.#child?.kill("SIGKILL");

  /** Ends it: SIGKILL leaves nothing but what it gave to the system. */
  async stop(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    process.off("exit", this.#last);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  /** Stops it for good, and looks through what it logged. */
  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#dir, { recursive: true, force: true });
    const bad = this.#log.split("\n").find((line) => /panic|DATA RACE|fatal error|level=ERROR/.test(line));
    if (bad) throw new Error(`the server logged a defect: ${bad}\n${this.#log.slice(-2000)}`);
  }

  /** Copies the database. What it answers sets a server that is stopped back to it. */
  backup(): () => void {
    const [data, copy] = [join(this.#dir, "data"), join(this.#dir, "copy.db")];
    execFileSync(program!, ["backup", "--data-dir", data, "--to", copy], { env: { PATH: process.env["PATH"] ?? "" } });
    return () => {
      for (const more of ["-wal", "-shm"]) rmSync(join(data, `parley.db${more}`), { force: true });
      copyFileSync(copy, join(data, "parley.db"));
    };
  }

  /** Asks over REST, past any proxy. */
  async rest<T = any>(who: string, method: string, path: string, body?: unknown, scope = ""): Promise<T> {
    const answer = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: { Authorization: `Bearer ${token(who, { scope })}`, ...(body !== undefined && { "Content-Type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return (text && JSON.parse(text)) as T;
  }

  /** The whole log of a conversation. */
  async log(who: string, conversation: string): Promise<any[]> {
    const all: any[] = [];
    for (;;) {
      const page = await this.rest(who, "GET", `/v1/conversations/${conversation}/messages?limit=200&after=${all.at(-1)?.seq ?? 0}`);
      all.push(...page.items);
      if (page.items.length === 0 || all.at(-1).seq >= page.headSeq) return all;
    }
  }
}
