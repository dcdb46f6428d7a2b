package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// Conversations lists the user's conversations, newest activity first.
func (c *Client) Conversations(ctx context.Context, o ListOptions) (Page[Conversation], error) {
	q := o.query()
	if o.Archived {
		q.Set("archived", "true")
	}
	var p Page[Conversation]
	err := c.do(ctx, http.MethodGet, at("conversations"), q, nil, &p)
	return p, err
}

// Conversation gives a conversation with its members.
func (c *Client) Conversation(ctx context.Context, id string) (Conversation, error) {
	var conv Conversation
	err := c.do(ctx, http.MethodGet, at("conversations", id), nil, nil, &conv)
	return conv, err
}

// CreateConversation creates a conversation, of which the user is the owner.
// Creating one again with the same id, or with the same Direct, gives the one
// that is there.
func (c *Client) CreateConversation(ctx context.Context, n NewConversation) (Conversation, error) {
	var conv Conversation
	err := c.do(ctx, http.MethodPost, at("conversations"), nil, n, &conv)
	return conv, err
}

// RenameConversation names a conversation; an empty name takes it away.
func (c *Client) RenameConversation(ctx context.Context, id, name string) error {
	return c.do(ctx, http.MethodPatch, at("conversations", id), nil, map[string]string{"name": name}, nil)
}

// ArchiveConversation takes a conversation out of the user's list, or back in.
func (c *Client) ArchiveConversation(ctx context.Context, id string, archived bool) error {
	return c.do(ctx, http.MethodPatch, at("conversations", id, "me"), nil, map[string]bool{"archived": archived}, nil)
}

// DeleteConversation deletes a conversation with all its entries.
func (c *Client) DeleteConversation(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, at("conversations", id), nil, nil, nil)
}

// Members lists the members of a conversation, in the order in which they
// joined.
func (c *Client) Members(ctx context.Context, conversation string, o ListOptions) (Page[Member], error) {
	var p Page[Member]
	err := c.do(ctx, http.MethodGet, at("conversations", conversation, "members"), o.query(), nil, &p)
	return p, err
}

// AddMember adds a member, or changes its role; an empty one keeps it.
func (c *Client) AddMember(ctx context.Context, conversation, user, role string) error {
	body := map[string]string{}
	if role != "" {
		body["role"] = role
	}
	return c.do(ctx, http.MethodPut, at("conversations", conversation, "members", user), nil, body, nil)
}

// RemoveMember removes a member; the user itself leaves.
func (c *Client) RemoveMember(ctx context.Context, conversation, user string) error {
	return c.do(ctx, http.MethodDelete, at("conversations", conversation, "members", user), nil, nil, nil)
}

// Receipts tells how far everybody has read a conversation.
func (c *Client) Receipts(ctx context.Context, conversation string) ([]Receipt, error) {
	var p Page[Receipt]
	err := c.do(ctx, http.MethodGet, at("conversations", conversation, "receipts"), nil, nil, &p)
	for i := range p.Items {
		p.Items[i].ConversationID = conversation
	}
	return p.Items, err
}

// History gives entries in the order of seq, as they were committed.
func (c *Client) History(ctx context.Context, conversation string, r Range) (History[Entry], error) {
	var h History[Entry]
	err := c.do(ctx, http.MethodGet, at("conversations", conversation, "messages"), r.query(), nil, &h)
	return h, err
}

// Messages gives messages in the order of seq, as they read now. Limit counts
// messages; an answer with fewer is the last one.
func (c *Client) Messages(ctx context.Context, conversation string, r Range) (History[Folded], error) {
	q := r.query()
	q.Set("view", "folded")
	var h History[Folded]
	err := c.do(ctx, http.MethodGet, at("conversations", conversation, "messages"), q, nil, &h)
	return h, err
}

// Search finds messages that have all the words, newest first, in one
// conversation or, where it is empty, in all of the user's.
func (c *Client) Search(ctx context.Context, words, conversation string, o ListOptions) (Page[Entry], error) {
	q := o.query()
	q.Set("q", words)
	if conversation != "" {
		q.Set("conversation", conversation)
	}
	var p Page[Entry]
	err := c.do(ctx, http.MethodGet, at("search"), q, nil, &p)
	return p, err
}

// Presences tells how present users are, of those whom the user may see.
func (c *Client) Presences(ctx context.Context, users ...string) ([]Presence, error) {
	var p Page[Presence]
	err := c.do(ctx, http.MethodGet, at("presence"), url.Values{"users": {strings.Join(users, ",")}}, nil, &p)
	return p.Items, err
}

// Notifications lists the user's notifications, newest first.
func (c *Client) Notifications(ctx context.Context, o ListOptions) (Page[Notification], error) {
	q := o.query()
	if o.Unread {
		q.Set("unread", "true")
	}
	var p Page[Notification]
	err := c.do(ctx, http.MethodGet, at("notifications"), q, nil, &p)
	return p, err
}

// ReadNotifications says which notifications are read. Exactly one of its
// fields is set.
type ReadNotifications struct {
	IDs  []string `json:"ids,omitempty"`
	UpTo uint64   `json:"upTo,omitempty"`
	All  bool     `json:"all,omitempty"`
}

// MarkNotificationsRead marks notifications as read, and gives the number of
// those that are not.
func (c *Client) MarkNotificationsRead(ctx context.Context, r ReadNotifications) (int, error) {
	var u Unread
	err := c.do(ctx, http.MethodPost, at("notifications", "read"), nil, r, &u)
	return u.UnreadCount, err
}

// Sync asks for what was missed since a cursor, or with none how all
// conversations stand. A client with events does so by itself, with a cursor
// of its own; this is for those that have none. limit is 500 where it is 0.
func (c *Client) Sync(ctx context.Context, after string, limit int) (Synced, error) {
	q := url.Values{}
	if after != "" {
		q.Set("after", after)
	}
	setLimit(q, limit)
	var s Synced
	err := c.do(ctx, http.MethodGet, at("sync"), q, nil, &s)
	return s, err
}
