package bridge

import "github.com/parley-mqtt/parley/internal/chat"

// The rules of who may change a conversation. They are pure: a Store reads
// the roles in its transaction, asks here, and then writes.

var errNotMember = chat.Errorf(chat.CodeForbidden, "you are not a member of this conversation")

// NotMember is the refusal of somebody who is not a member.
func NotMember() error { return errNotMember }

// Closed is the refusal of a message to a direct conversation of two of whom
// one has blocked the other.
func Closed() error {
	return chat.Errorf(chat.CodeForbidden, "this conversation takes no messages: one of its members has blocked the other")
}

// NoConversation is the answer where the conversation does not exist.
func NoConversation() error {
	return chat.Errorf(chat.CodeNotFound, "there is no such conversation")
}

// NoTarget is the answer where the target of an entry does not exist.
func NoTarget(field string) error {
	return &chat.Error{Code: chat.CodeNotFound, Field: field, Message: "there is no such message"}
}

// CheckTarget says whether sender with role may make a draft of type t whose
// target was written by author.
func CheckTarget(t chat.Type, role chat.Role, sender, author string) error {
	if (t == chat.TypeEdit || t == chat.TypeDelete) && sender != author && role < chat.RoleAdmin {
		return chat.Errorf(chat.CodeForbidden, "only its author, an owner or an admin may do this to a message")
	}
	return nil
}

// CheckRename wants an owner or admin.
func CheckRename(actor Actor, role chat.Role) error {
	return wantRole(actor, role, chat.RoleAdmin, "only an owner or admin may rename a conversation")
}

// CheckHistory wants an owner or admin.
func CheckHistory(actor Actor, role chat.Role) error {
	return wantRole(actor, role, chat.RoleAdmin, "only an owner or admin may say from where on members read")
}

// CheckEdits says whether actor, whose own role is role, may see what author
// wrote at first. Who is no member may not, its author neither.
func CheckEdits(actor Actor, role chat.Role, author string) error {
	if role != chat.RoleNone && actor.UserID == author {
		return nil
	}
	return wantRole(actor, role, chat.RoleAdmin, "only its author, an owner or an admin may see the edits of a message")
}

// CheckGroup refuses what cannot be done to a direct conversation: its members
// are two for ever, and it has no name. It is asked after the rules of roles.
func CheckGroup(direct bool) error {
	if direct {
		return chat.Errorf(chat.CodeForbidden, "members, roles, name and history of a direct conversation cannot be changed")
	}
	return nil
}

// Blocked is the refusal of a direct conversation between two of whom one has
// blocked the other.
func Blocked() error {
	return chat.Errorf(chat.CodeForbidden, "one of the two has blocked the other")
}

// CheckDelete wants the owner.
func CheckDelete(actor Actor, role chat.Role) error {
	return wantRole(actor, role, chat.RoleOwner, "only the owner may delete a conversation")
}

// RoleToGive is the role that PutMember gives to somebody whose role is now:
// the one that is wanted, or without a wish the one that it has.
func RoleToGive(now, want chat.Role) chat.Role {
	if want == chat.RoleNone {
		return max(now, chat.RoleMember)
	}
	return want
}

// CheckPutMember says whether actor, whose own role is role, may give user,
// whose role is now, the role want. An owner or admin adds members; the
// owner alone makes and unmakes admins, and hands the conversation over. The
// owner's own role changes in no other way.
func CheckPutMember(actor Actor, role, now, want chat.Role) error {
	if now == want {
		return wantRole(actor, role, chat.RoleAdmin, "only an owner or admin may add members")
	}
	if want == chat.RoleOwner {
		return wantRole(actor, role, chat.RoleOwner, "only the owner may hand a conversation over")
	}
	if now == chat.RoleOwner {
		return chat.Invalid("role", "the owner stays it until another gets this role")
	}
	if want == chat.RoleAdmin || now == chat.RoleAdmin {
		return wantRole(actor, role, chat.RoleOwner, "only the owner may make or unmake an admin")
	}
	return wantRole(actor, role, chat.RoleAdmin, "only an owner or admin may add members")
}

// CheckRemoveMember says whether actor, whose own role is role, may remove
// user, whose role is now. Everybody may leave; an admin removes members,
// the owner removes anybody.
func CheckRemoveMember(actor Actor, user string, role, now chat.Role) error {
	if actor.UserID == user && now != chat.RoleNone {
		return nil
	}
	want := chat.RoleAdmin
	if now >= chat.RoleAdmin {
		want = chat.RoleOwner
	}
	if err := wantRole(actor, role, want, "only the owner or an admin may remove this member"); err != nil {
		return err
	}
	if now == chat.RoleNone {
		return chat.Errorf(chat.CodeNotFound, "this user is not a member")
	}
	return nil
}

func wantRole(actor Actor, role, want chat.Role, why string) error {
	switch {
	case actor.Admin || role >= want:
		return nil
	case role == chat.RoleNone:
		return errNotMember
	}
	return chat.Errorf(chat.CodeForbidden, "%s", why)
}
