// Who is signed in. What is kept is kept in the session storage of the tab,
// and nothing of it is ever in an address.
import { signal } from "@preact/signals";
import { keep, kept } from "./keep.ts";

export type Session = { kind: "name"; name: string; admin: boolean } | { kind: "token"; token: string };

// The page for operators has a session of its own, so that who looks after a
// server may chat as somebody else.
const chatKey = "parley.session";
const key = location.pathname.startsWith("/admin") ? "parley.admin" : chatKey;

export const session = signal<Session | undefined>(load(key) ?? adminOf(load(chatKey)));

function load(key: string): Session | undefined {
  try {
    const s = JSON.parse(kept(() => sessionStorage, key) ?? "null") as Session | null;
    if (s?.kind === "name" && typeof s.name === "string") return { kind: "name", name: s.name, admin: !!s.admin };
    if (s?.kind === "token" && typeof s.token === "string") return { kind: "token", token: s.token };
  } catch {
    // as if there were none
  }
  return undefined;
}

/** Who chats as an administrator is one on the other page too. */
function adminOf(s: Session | undefined): Session | undefined {
  return s?.kind === "name" && s.admin ? s : undefined;
}

/** Why the page asks to sign in again; empty where nobody was signed out. */
export const notice = signal("");

export function signIn(s: Session): void {
  notice.value = "";
  keep(() => sessionStorage, key, JSON.stringify(s));
  session.value = s;
}

export function signOut(): void {
  endSession("");
}

/** Signs out, and has the first page say why. */
export function endSession(why: string): void {
  keep(() => sessionStorage, key, null);
  notice.value = why;
  session.value = undefined;
}

/** A token for a session: the one that was pasted, or a new one by name. */
export async function tokenFor(s: Session): Promise<string> {
  if (s.kind === "token") return s.token;
  const answer = await fetch("/v1/dev/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(s.admin ? { sub: s.name, scope: "admin" } : { sub: s.name }),
  });
  if (answer.status === 404) throw new Error("This server does not offer sign-in by name any more.");
  const body = (await answer.json()) as { token?: string; detail?: string };
  if (!answer.ok || !body.token) throw new Error(body.detail ?? `The server answered ${answer.status}.`);
  return body.token;
}

/** Whether the server offers sign-in by name to this browser. */
export async function offersNames(): Promise<boolean> {
  try {
    return (await fetch("/v1/dev")).status === 204;
  } catch {
    return false;
  }
}

/** Tries a session, and says in words what is wrong with it. */
export async function tryOut(s: Session, path = "/v1/notifications/unread"): Promise<string | undefined> {
  try {
    const token = await tokenFor(s);
    const answer = await fetch(path, { headers: { Authorization: `Bearer ${token}` } });
    if (answer.ok) return undefined;
    if (answer.status === 401) return "The server does not take this token. It may have expired.";
    if (answer.status === 403) return "This wants a token with the scope admin.";
    return `The server answered ${answer.status}.`;
  } catch (err) {
    return err instanceof TypeError ? "The server cannot be reached." : (err as Error).message;
  }
}
