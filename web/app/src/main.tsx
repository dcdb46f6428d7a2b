// The chat page. What tests may hold on to are roles, names and these test
// ids, which stay:
//
//   signin, signin-name, signin-admin, signin-submit, signin-token,
//   signin-token-submit, signin-problem   the first page
//   me                    who is signed in, and their menu; sign-out in it
//   status                the link: data-state is the SDK's, plus data-ready
//   banner                shown while the link is not whole
//   conversation          an item of the list (data-id), with unread in it
//   new-conversation      opens new-dialog: new-direct, new-members, new-name,
//                         new-submit
//   thread                the open conversation (data-id); thread-title
//   log                   its messages; message (data-seq, data-sender,
//                         data-state: sent, delivered, read, pending, failed,
//                         or received), with message-text, quote, edited,
//                         reaction (data-emoji), seen-by (data-users)
//   react, reply, edit, delete            what can be done to a message
//   composer, send, editing, replying     what is being written
//   typing, new-line, jump, removed       in the open conversation
//   members-toggle, members, member (data-user), member-add, member-add-submit,
//   member-remove, leave
//   bell, bell-count, notices, notice, notices-read-all
//   search-open, search, search-result
//   toasts, theme, ended
import "./style.css";
import { effect, untracked } from "@preact/signals";
import { render } from "preact";
import { route } from "./route.ts";
import { endSession, notice, session, tokenFor, type Session } from "./session.ts";
import { Store } from "./store.ts";
import { Shell } from "./ui/shell.tsx";
import { SignIn } from "./ui/signin.tsx";
import { Toasts } from "./ui/parts.tsx";
import { toasts } from "./toast.ts";

const root = document.getElementById("app")!;
let store: Store | undefined;

// One store for each session: signing out ends it with its connection.
effect(() => {
  const s = session.value;
  untracked(() => {
    store?.close();
    store = s && new Store(() => tokenFor(s), () => refused(s));
    toasts.value = [];
    render(
      <>
        {store ? <Shell key={store} store={store} /> : <SignIn notice={notice.value} />}
        <Toasts />
      </>,
      root,
    );
  });
});

/** A name gets new tokens; one that was pasted is all that there is. */
function refused(s: Session): void {
  if (s.kind !== "token" || session.peek() !== s) return;
  endSession("Your token has expired or was revoked. Sign in with a new one; what is not sent yet waits for you.");
}

effect(() => {
  const { conversation, seq } = route.value;
  void session.value;
  // What opening looks at must not open it again when it changes.
  untracked(() => store?.open(conversation, seq));
});
