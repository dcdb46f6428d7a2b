package terminal

import (
	"fmt"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/client"
)

// stamp is how times are shown in lines.
const stamp = "2006-01-02 15:04:05"

// EntryLine is an entry on one line.
func EntryLine(e client.Entry, at *time.Location) string {
	return fmt.Sprintf("%s  #%d  %s", e.CreatedAt.In(at).Format(stamp), e.Seq, says(e))
}

func says(e client.Entry) string {
	who := Line(e.SenderID)
	switch {
	case e.Deleted && e.Type != client.TypeDelete:
		return who + " (deleted)"
	case e.Type == client.TypeMessage:
		return who + ": " + messageText(e)
	case e.Type == client.TypeEdit:
		return fmt.Sprintf("%s edited #%d: %s", who, e.Target, Line(e.Content))
	case e.Type == client.TypeDelete:
		return fmt.Sprintf("%s deleted #%d", who, e.Target)
	case e.Type == client.TypeReaction && e.Remove:
		return fmt.Sprintf("%s took %s from #%d", who, Line(e.Emoji), e.Target)
	case e.Type == client.TypeReaction:
		return fmt.Sprintf("%s reacted %s to #%d", who, Line(e.Emoji), e.Target)
	case e.Type == client.TypeRename && e.Name == "":
		return who + " took the name away"
	case e.Type == client.TypeRename:
		return fmt.Sprintf("%s named it %q", who, Line(e.Name))
	}
	return moved(e)
}

// moved tells of who joins and leaves.
func moved(e client.Entry) string {
	user, by := Line(e.UserID), ""
	if e.SenderID != e.UserID {
		by = Line(e.SenderID)
	}
	switch {
	case e.Type == client.TypeJoin && by != "":
		return user + " was added by " + by
	case e.Type == client.TypeJoin:
		return user + " joined"
	case e.Type == client.TypeLeave && by != "":
		return user + " was removed by " + by
	case e.Type == client.TypeLeave:
		return user + " left"
	}
	return fmt.Sprintf("%s: %s", Line(e.SenderID), Line(e.Type))
}

func messageText(e client.Entry) string {
	var parts []string
	if e.ReplyTo > 0 {
		parts = append(parts, fmt.Sprintf("(to #%d)", e.ReplyTo))
	}
	if e.Content != "" {
		parts = append(parts, Line(e.Content))
	}
	if e.MediaURL != "" {
		parts = append(parts, "<"+Line(e.MediaURL)+">")
	}
	return strings.Join(parts, " ")
}

// EventLine is an event other than an entry on one line, "" where it says
// nothing.
func EventLine(ev client.Event) string {
	switch ev := ev.(type) {
	case client.Typing:
		if ev.Typing {
			return fmt.Sprintf("[%s] %s types", Line(ev.ConversationID), Line(ev.UserID))
		}
		return fmt.Sprintf("[%s] %s types no more", Line(ev.ConversationID), Line(ev.UserID))
	case client.Presence:
		return fmt.Sprintf("%s is %s", Line(ev.UserID), Line(ev.Status))
	case client.Receipt:
		return fmt.Sprintf("[%s] %s has read up to #%d", Line(ev.ConversationID), Line(ev.UserID), ev.Read)
	case client.Notification:
		return fmt.Sprintf("notification %d: %s from %s", ev.Seq, Line(ev.Type), Line(ev.SenderID))
	case client.Unread:
		return fmt.Sprintf("%d notifications are unread", ev.UnreadCount)
	case client.Gap:
		if ev.ConversationID == "" {
			return "notifications are missing: the server does not hold them any more"
		}
		return fmt.Sprintf("[%s] what was before #%d is not held any more", Line(ev.ConversationID), ev.First)
	case client.Problem:
		return "refused: " + Line(ev.Err.Error())
	}
	return ""
}

// Last is the last entry of a history that was printed before its events.
type Last struct {
	Seq uint64
	ID  string
}

// Next tells whether an entry follows what was printed, and notes it. One that
// does not is the same again, but for the user's own join that is later than
// the last: the conversation was deleted and made again, and counts anew. A
// Gap says so too; then Last is the zero one.
func (l *Last) Next(e client.Entry, me string) bool {
	again := e.Type == client.TypeJoin && e.UserID == me && l.ID != "" && e.ID > l.ID
	if e.Seq <= l.Seq && !again {
		return false
	}
	*l = Last{Seq: e.Seq, ID: e.ID}
	return true
}
