import type { Problem } from "./types.js";

/** What promises of the client reject with. `code` is what programs look at. */
export class ParleyError extends Error implements Problem {
  override readonly name = "ParleyError";
  declare topic?: string;
  declare clientId?: string;
  declare field?: string;
  /** The HTTP status, of what was asked over REST. */
  declare status?: number;
  /** How long to wait before asking again, in milliseconds, where the server says so. */
  declare retryAfter?: number;

  constructor(
    readonly code: string,
    message: string,
    more: { topic?: string; clientId?: string; field?: string; status?: number; retryAfter?: number } = {},
  ) {
    super(message);
    Object.assign(this, more);
  }
}

/** Any error as one of ours. */
export function asParleyError(err: unknown, code = "network"): ParleyError {
  if (err instanceof ParleyError) return err;
  return new ParleyError(code, err instanceof Error ? err.message : String(err));
}

/** An error as plain data, for events. */
export function problemOf(err: unknown, code?: string): Problem {
  const e = asParleyError(err, code);
  const p: Problem = { code: e.code, message: e.message };
  for (const key of ["topic", "clientId", "field"] as const) if (e[key] !== undefined) p[key] = e[key];
  return p;
}

const reasons: Record<number, string> = {
  0x80: "internal",
  0x83: "unavailable",
  0x86: "unauthorized",
  0x87: "forbidden",
  0x88: "unavailable",
  0x89: "unavailable",
  0x8b: "unavailable",
  0x8e: "taken_over",
  0x95: "invalid",
  0x97: "rate_limited",
  0x98: "kicked",
  0x99: "invalid",
  0x9f: "rate_limited",
};

/** The code of an MQTT 5 reason, where the server does not say a better one. */
export function codeOf(reason: number): string {
  return reasons[reason] ?? "network";
}
