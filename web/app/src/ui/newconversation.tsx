import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Store } from "../store.ts";
import { Dialog, IconButton } from "./parts.tsx";

const user = /^[A-Za-z0-9_.@:-]{1,64}$/;

/** Begins a direct conversation or a group. */
export function NewConversation({ store, onClose }: { store: Store; onClose: (id?: string) => void }): JSX.Element {
  const direct = useSignal(true);
  const problem = useSignal("");
  const busy = useSignal(false);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.querySelector<HTMLElement>("input[type=text]")?.focus(), [direct.value]);

  async function submit() {
    const data = new FormData(form.current!);
    const names = String(data.get("members") ?? "")
      .split(/[\s,;]+/)
      .filter(Boolean);
    const wrong = names.find((n) => !user.test(n));
    if (wrong) {
      problem.value = `“${wrong}” is not a user's name: letters, digits and _ . @ : -`;
      return;
    }
    if (direct.value && (names.length !== 1 || names[0] === store.me.value)) {
      problem.value = names.length > 1 ? "A direct conversation has one other person; make a group for more." : "Name somebody else.";
      return;
    }
    busy.value = true;
    problem.value = "";
    try {
      const given = String(data.get("name") ?? "").trim();
      const name = given || [store.me.value, ...names].slice(0, 4).join(", ");
      const made = await store.client.createConversation(direct.value ? { direct: names[0]! } : { name, members: names });
      await store.refresh();
      onClose(made.id);
    } catch (err) {
      problem.value = err instanceof Error ? err.message : String(err);
      busy.value = false;
    }
  }

  return (
    <Dialog label="New conversation" onClose={() => onClose()} testid="new-dialog">
      <div class="pop-head">
        <h2>New conversation</h2>
        <IconButton icon="close" label="Close" onClick={() => onClose()} />
      </div>
      <div class="tabs" role="group" aria-label="Kind of conversation">
        <button type="button" aria-pressed={direct.value} data-testid="new-direct" onClick={() => (direct.value = true)}>
          Direct
        </button>
        <button type="button" aria-pressed={!direct.value} data-testid="new-group" onClick={() => (direct.value = false)}>
          Group
        </button>
      </div>
      <form
        ref={form}
        class="form"
        onSubmit={(e) => {
          e.preventDefault();
          void submit();
        }}
      >
        {!direct.value && (
          <>
            <label for="new-name">
              Name <span class="soft">(optional)</span>
            </label>
            <input type="text" id="new-name" name="name" maxLength={80} autoComplete="off" data-testid="new-name" placeholder="Lunch" />
          </>
        )}
        <label for="new-members">{direct.value ? "With" : "Members"}</label>
        <input
          type="text"
          id="new-members"
          name="members"
          required={direct.value}
          autoComplete="off"
          autoCapitalize="none"
          spellcheck={false}
          data-testid="new-members"
          placeholder={direct.value ? "bob" : "bob, carol"}
          aria-describedby="new-problem"
        />
        <p class="problem" role="alert" id="new-problem">
          {problem.value}
        </p>
        <button class="primary" type="submit" disabled={busy.value} data-testid="new-submit">
          {direct.value ? "Begin" : "Create group"}
        </button>
      </form>
    </Dialog>
  );
}
