import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { offersNames, signIn, tryOut, type Session } from "../session.ts";
import { ThemeButton } from "./theme.tsx";

export function Logo(): JSX.Element {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect class="logo-back" width="32" height="32" rx="9" />
      <path class="logo-front" d="M8 9.500A2.500 2.500 0 0 1 10.500 7h11A2.500 2.500 0 0 1 24 9.500v8a2.500 2.500 0 0 1-2.500 2.500H15l-4.600 4.100c-.5.45-1.400.1-1.400-.6V19.800A2.500 2.500 0 0 1 8 17.500z" />
      <g class="logo-back">
        <circle cx="12.500" cy="13.500" r="1.500" />
        <circle cx="16.200" cy="13.500" r="1.500" />
        <circle cx="19.900" cy="13.500" r="1.500" />
      </g>
    </svg>
  );
}

/**
 * The first page: a name where the server takes one, or a token. With `admin`
 * it signs in to the page for operators.
 */
export function SignIn({ notice, admin = false }: { notice?: string | undefined; admin?: boolean }): JSX.Element {
  const [byName, setByName] = useState<boolean | undefined>();
  const [problem, setProblem] = useState(notice ?? "");
  const [busy, setBusy] = useState(false);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = admin ? "Sign in · Parley administration" : "Sign in · Parley";
    void offersNames().then(setByName);
  }, []);
  useEffect(() => first.current?.focus(), [byName]);

  async function submit(s: Session) {
    setBusy(true);
    setProblem("");
    const wrong = await tryOut(s, admin ? "/v1/admin/connections?limit=1" : undefined);
    setBusy(false);
    if (wrong) setProblem(wrong);
    else signIn(s);
  }

  return (
    <main class="signin" data-testid="signin">
      <div class="signin-theme">
        <ThemeButton />
      </div>
      <div class="card">
        <Logo />
        <h1>{admin ? "Parley administration" : "Welcome to Parley"}</h1>
        <p class="soft">
          {admin ? "See who is connected and how the server does." : "Chat that arrives once, in order, whatever the network does."}
        </p>
        <p class="problem" role="alert" data-testid="signin-problem">
          {problem}
        </p>
        {byName === undefined && <p class="soft">One moment…</p>}
        {byName && (
          <form
            class="form"
            onSubmit={(e) => {
              e.preventDefault();
              const data = new FormData(e.currentTarget);
              const name = String(data.get("name") ?? "").trim();
              if (name) void submit({ kind: "name", name, admin: admin || data.get("admin") === "on" });
            }}
          >
            <label for="name">Your name</label>
            <input
              ref={first}
              id="name"
              name="name"
              required
              maxLength={64}
              pattern="[A-Za-z0-9_.@:\-]+"
              title="Letters, digits and _ . @ : -"
              autoComplete="username"
              autoCapitalize="none"
              spellcheck={false}
              placeholder={admin ? "root" : "alice"}
              data-testid="signin-name"
            />
            {!admin && (
              <label class="check">
                <input type="checkbox" name="admin" data-testid="signin-admin" /> as administrator
              </label>
            )}
            <button class="primary" type="submit" disabled={busy} data-testid="signin-submit">
              {busy ? "Signing in…" : admin ? "Sign in as administrator" : "Sign in"}
            </button>
            <p class="hint">This server runs on your machine and takes any name. Open a second window and be somebody else.</p>
          </form>
        )}
        {byName !== undefined && (
          <details class="form" open={!byName}>
            <summary>Use a token</summary>
            <form
              class="form"
              onSubmit={(e) => {
                e.preventDefault();
                const token = String(new FormData(e.currentTarget).get("token") ?? "").trim();
                if (token) void submit({ kind: "token", token });
              }}
            >
              <label for="token">Token</label>
              <input
                ref={byName ? null : first}
                id="token"
                name="token"
                type="password"
                required
                autoComplete="off"
                spellcheck={false}
                placeholder="eyJhbGciOi…"
                data-testid="signin-token"
              />
              <button class={byName ? "" : "primary"} type="submit" disabled={busy} data-testid="signin-token-submit">
                {busy ? "Signing in…" : "Sign in with a token"}
              </button>
              <p class="hint">
                <code>parley token --sub alice{admin ? " --scope admin" : ""}</code> prints one. It stays in this tab.
              </p>
            </form>
          </details>
        )}
      </div>
      <p class="foot">
        <a href="/docs">REST</a> · {admin ? <a href="/">Chat</a> : <a href="/admin">Administration</a>}
      </p>
    </main>
  );
}
