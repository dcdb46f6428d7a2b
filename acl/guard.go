package acl

import (
	"strings"

	"github.com/parley-mqtt/parley/internal/chat"
)

// The refusals are made once. A client that tries a thousand forbidden topics
// then costs no memory. They are shared: nobody may change them.
var (
	errNobody     = chat.Errorf(chat.CodeForbidden, "the token names no user")
	errServerMade = chat.Errorf(chat.CodeForbidden, "only the server publishes to this topic")
	errNotOwn     = chat.Errorf(chat.CodeForbidden, "this topic belongs to another user")
	errNoClaim    = chat.Errorf(chat.CodeForbidden, "the acl claim of the token does not allow this topic")
	errDollar     = chat.Errorf(chat.CodeForbidden, "topics that begin with $ are not offered")
	errNothing    = chat.Errorf(chat.CodeForbidden, "nothing is delivered on this topic")
	errUnknown    = chat.Errorf(chat.CodeForbidden, "this topic is not offered")
)

// MayPublish says whether the identity may publish to the topic. The error is
// nil or a *chat.Error with CodeForbidden. The topics of a conversation are
// allowed to everybody here: membership is decided by the statement that
// commits, or by the caller.
//
// It does not allocate, does no I/O and is safe for concurrent use. It is half
// of the authorization of MQTT 5 clause 5.4.2.
func (id *Identity) MayPublish(t chat.Topic) error {
	if id.UserID == "" {
		return errNobody
	}
	switch t.Kind {
	case chat.KindMessages, chat.KindTyping, chat.KindReceipts, chat.KindReplay:
		return nil
	case chat.KindNotificationsRead, chat.KindNotificationsReplay, chat.KindPresence, chat.KindToken:
		if t.ID != id.UserID {
			return errNotOwn
		}
		return nil
	case chat.KindNotifications, chat.KindUnread, chat.KindErrors:
		return errServerMade
	case chat.KindOrdinary:
		return id.mayPublishOrdinary(t.Name)
	}
	return errUnknown
}

func (id *Identity) mayPublishOrdinary(name string) error {
	if err := checkOrdinary(name); err != nil {
		return err
	}
	for _, filter := range id.Pub {
		if Match(filter, name) {
			return nil
		}
	}
	return errNoClaim
}

// MaySubscribe says whether the identity may subscribe to the filter. The
// error is nil or a *chat.Error with CodeForbidden. A shared subscription is
// judged by its inner filter.
//
// Filters below chat/ and users/+/presence or users/<u>/presence are allowed
// to everybody here: they mean "of what I may see", and the caller checks what
// that is. An ordinary filter is allowed when one filter of the acl claim
// covers it, that is, takes every topic that it takes. An ordinary filter such
// as # or +/x/messages never reaches topics below chat/ or users/, nor those
// that begin with $: the caller must match it against ordinary topics alone.
//
// It does not allocate, does no I/O and is safe for concurrent use. It is half
// of the authorization of MQTT 5 clause 5.4.2.
func (id *Identity) MaySubscribe(f chat.Filter) error {
	if id.UserID == "" {
		return errNobody
	}
	switch f.Kind {
	case chat.KindMessages, chat.KindTyping, chat.KindReceipts, chat.KindPresence:
		return nil
	case chat.KindNotifications, chat.KindUnread, chat.KindErrors:
		return id.mayFollow(f)
	case chat.KindAny:
		if f.Any { // chat/+/+
			return nil
		}
		return id.mayFollow(f)
	case chat.KindReplay, chat.KindNotificationsRead, chat.KindNotificationsReplay, chat.KindToken:
		return errNothing
	case chat.KindOrdinary:
		return id.maySubscribeOrdinary(f)
	}
	return errUnknown
}

// mayFollow judges what the server sends to one user: the user's own, or
// anybody's for an admin. "Of all users" is not among the contract's filters.
func (id *Identity) mayFollow(f chat.Filter) error {
	switch {
	case f.Any:
		return errUnknown
	case f.ID == id.UserID, id.Scopes&Admin != 0:
		return nil
	}
	return errNotOwn
}

func (id *Identity) maySubscribeOrdinary(f chat.Filter) error {
	filter := f.Name
	if f.Share != "" {
		// $share/<group>/<filter>: [MQTT-4.8.2-1].
		rest, ok := strings.CutPrefix(filter, "$share/")
		if !ok {
			return errUnknown
		}
		if _, filter, ok = strings.Cut(rest, "/"); !ok {
			return errUnknown
		}
	}
	if err := checkOrdinary(filter); err != nil {
		return err
	}
	for _, claim := range id.Sub {
		if covers(claim, filter) {
			return nil
		}
	}
	return errNoClaim
}

// MayRead reports whether the acl claim lets the identity read an ordinary
// topic. It does not allocate.
func (id *Identity) MayRead(topic string) bool {
	if checkOrdinary(topic) != nil {
		return false
	}
	for _, claim := range id.Sub {
		if Match(claim, topic) {
			return true
		}
	}
	return false
}

// checkOrdinary refuses what the acl claim never reaches. The parser of topics
// sees to chat/ and users/ already. They are looked at again because a mistake
// there must not open the chat to devices.
func checkOrdinary(name string) error {
	if name == "" {
		return errUnknown
	}
	if name[0] == '$' {
		return errDollar
	}
	if root, _, _ := strings.Cut(name, "/"); root == "chat" || root == "users" {
		return errUnknown
	}
	return nil
}
