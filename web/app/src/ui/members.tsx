import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Member } from "@parley/client";
import type { Thread } from "../thread.ts";
import { attempt } from "../toast.ts";
import { Avatar, Dialog, IconButton, presenceText } from "./parts.tsx";

/** Who is in the conversation, and what one may do about it. */
export function MembersPanel({ thread, onClose }: { thread: Thread; onClose: () => void }): JSX.Element {
  const store = thread.store;
  const leaving = useSignal(false);
  const d = thread.details.value;
  const role = thread.role.value;
  const gone = store.removed.value.has(thread.id);
  const rules = !gone && !d?.direct && (role === "owner" || role === "admin");
  const order = { online: 0, away: 1, invisible: 2, offline: 3 };
  const status = (m: Member) => store.presence.value.get(m.userId)?.status ?? "offline";
  const members = [...thread.members.value].sort((a, b) => order[status(a)] - order[status(b)] || a.userId.localeCompare(b.userId));

  return (
    <aside class="people" aria-label="Members" data-testid="members">
      <div class="pop-head">
        <h2>
          Members <span class="soft">{d?.memberCount ?? members.length}</span>
        </h2>
        <IconButton icon="close" label="Close members" onClick={onClose} />
      </div>
      {rules && <Rename thread={thread} />}
      {rules && (
        <form
          class="row pad"
          onSubmit={(e) => {
            e.preventDefault();
            const form = e.currentTarget;
            const user = String(new FormData(form).get("user") ?? "").trim();
            if (!user) return;
            void attempt(`${user} could not be added`, () => store.client.addMember(thread.id, user)).then((ok) => {
              if (!ok) return;
              form.reset();
              void thread.loadPeople();
            });
          }}
        >
          <input
            name="user"
            aria-label="Add a member"
            placeholder="Add a member"
            maxLength={64}
            pattern="[A-Za-z0-9_.@:\-]+"
            title="Letters, digits and _ . @ : -"
            autoComplete="off"
            autoCapitalize="none"
            data-testid="member-add"
          />
          <button type="submit" class="primary" data-testid="member-add-submit">
            Add
          </button>
        </form>
      )}
      <ul class="members">
        {members.map((m) => (
          <MemberItem key={m.userId} thread={thread} m={m} mayRemove={rules && may(role, m, store.me.value)} />
        ))}
      </ul>
      {!gone && d && !d.direct && (
        <div class="pad">
          <button type="button" class="danger wide" data-testid="leave" onClick={() => (leaving.value = true)}>
            Leave conversation
          </button>
        </div>
      )}
      {leaving.value && (
        <Dialog label="Leave conversation" onClose={() => (leaving.value = false)}>
          <h2>Leave {store.title(thread.id)}?</h2>
          <p class="soft">You get nothing more of it until somebody adds you again.</p>
          <div class="row end">
            <button type="button" onClick={() => (leaving.value = false)}>
              Stay
            </button>
            <button
              type="button"
              class="danger"
              data-testid="leave-confirm"
              onClick={() => {
                leaving.value = false;
                void attempt("You could not leave", () => store.client.removeMember(thread.id, store.me.value));
              }}
            >
              Leave
            </button>
          </div>
        </Dialog>
      )}
    </aside>
  );
}

/** An owner removes anybody else, an admin plain members. */
function may(role: Member["role"] | undefined, m: Member, me: string): boolean {
  return m.userId !== me && (role === "owner" || m.role === "member");
}

function MemberItem({ thread, m, mayRemove }: { thread: Thread; m: Member; mayRemove: boolean }): JSX.Element {
  const store = thread.store;
  const presence = store.presence.value.get(m.userId);
  const me = m.userId === store.me.value;
  return (
    <li class="member" data-testid="member" data-user={m.userId} data-status={presence?.status ?? "offline"}>
      <Avatar name={m.userId} presence={presence} dot size="small" />
      <span class="member-main">
        <span class="member-name">
          {m.userId}
          {me && <span class="soft"> (you)</span>}
        </span>
        <span class="soft small">
          {m.role !== "member" && <span class="role">{m.role}</span>}
          {presenceText(presence)}
        </span>
      </span>
      {!me && !thread.details.value?.direct && thread.role.value === "owner" && (
        <button
          type="button"
          class="link small"
          onClick={() => {
            const role = m.role === "admin" ? "member" : "admin";
            void attempt("The role could not be changed", () => store.client.addMember(thread.id, m.userId, role)).then(() => thread.loadPeople());
          }}
        >
          {m.role === "admin" ? "Unmake admin" : "Make admin"}
        </button>
      )}
      {mayRemove && (
        <IconButton
          icon="close"
          label={`Remove ${m.userId}`}
          testid="member-remove"
          onClick={() =>
            void attempt(`${m.userId} could not be removed`, () => store.client.removeMember(thread.id, m.userId)).then(() => thread.loadPeople())
          }
        />
      )}
    </li>
  );
}

function Rename({ thread }: { thread: Thread }): JSX.Element {
  const name = thread.details.value?.name ?? "";
  return (
    <form
      class="row pad"
      onSubmit={(e) => {
        e.preventDefault();
        const next = String(new FormData(e.currentTarget).get("name") ?? "").trim();
        if (next !== name) void attempt("It could not be renamed", () => thread.store.client.renameConversation(thread.id, next));
      }}
    >
      <input key={name} name="name" aria-label="Name of the conversation" defaultValue={name} maxLength={80} placeholder="Name" data-testid="rename" />
      <button type="submit">Rename</button>
    </form>
  );
}
