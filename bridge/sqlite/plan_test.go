package sqlite

import (
	"database/sql"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every statement finds its rows by an index. Those that may walk a table or
// sort are named here, with the reason.
func TestQueryPlans(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "parley.db"), true)
	allowed := map[string]string{
		placeAtHeads:        "SCAN streams",                          // once in the life of a database
		releaseSessions:     "SCAN sessions",                         // once, at the start
		selectLoose:         "SCAN loose",                            // of a list that is empty but for what is to be swept
		findKept:            "SCAN (subquery-1)",                     // of as many entries as are trimmed at once
		countRetained:       "SCAN retained",                         // once, at the start
		releasePeople:       "SCAN people USING INDEX people_online", // likewise
		selectConversations: "USE TEMP B-TREE FOR ORDER BY, SCAN p",  // of one user's conversations
		countFew:            "SCAN (subquery-1)",                     // of a few of one conversation's members
		selectMembers:       "USE TEMP B-TREE FOR ORDER BY",          // of one conversation's members
		selectReceipts:      "USE TEMP B-TREE FOR ORDER BY",          // likewise
		selectCursorsSeen:   "USE TEMP B-TREE FOR ORDER BY",          // of one session's cursors
		selectSearched:      "USE TEMP B-TREE FOR ORDER BY",          // of one user's conversations
		selectMatches:       "SCAN w VIRTUAL TABLE INDEX 192:M1><",   // by words and a range of rowids, from the end
		deleteWords:         "SCAN message_words VIRTUAL TABLE INDEX 0:=",
		selectOwnPlaces:     "USE TEMP B-TREE FOR ORDER BY", // of one user's conversations
	}
	all := append(slices.Concat(deleteConversation, traces, eraseInbox),
		selectStream, selectRole, selectRepeat, selectTarget, eraseMessage, eraseEdits, updateHead,
		raiseRead, insertDue, selectReceipt, updateReceipt, countFew, selectReceipts, selectStanding,
		selectAfter, selectBefore, selectLast, selectHead,
		selectConversation, selectMembers, updateName, selectConversations,
		selectOldest, selectOldestOwn, selectHeld, findKept, trimEntries, raiseFirst, setRetention,
		peekHead, selectSaid, selectSessionKeys, beginErasure, countErased, endErasure, findSaid, selectMine, eraseEntry, selectErased, setExtra,
		selectRetainedBy, selectMessageIDs, emptyMessage, eraseUnread, selectSentBy, eraseSent, eraseCollapse,
		selectMember, updateRole, endMember, memberships, membershipIn,
		selectSession, selectCursors, markSession, deleteSession, raiseCursor, dropCursor, releaseSessions, sweepSessions,
		selectRosterHead, selectRoster, selectPerson, selectAcquainted, upsertPerson, releasePeople,
		selectInbox, createInbox, selectPreferences, upsertPreferences, selectFirst, selectCollapsed, insertNotice, insertUnread,
		deleteUnread, raiseInbox, deleteUnreadUpTo, selectUnreadIDs, countUnread, countUnreadOf, selectUnreadIn, selectUnread,
		selectDue, deleteDue, selectKey, selectThis, mayRead,
		selectReceived, upsertSession, selectQueueOf, markQueue, insertMessage, insertLoose, insertDelivery, releaseDelivery, deleteDelivery,
		upsertRetained, deleteRetained, upsertReceived, deleteReceived, upsertWill, deleteWill, upsertSent,
		selectDeliveries, selectMessage, selectQueues, countDeliveries, selectSent, selectRetainedFrom, selectRetainedBetween, selectRetainedPage,
		selectSearched, selectSearchedOne, selectMatches, selectTime, selectFound, selectEdit, deleteWords,
		selectRetainedOn, countRetained, selectWills, selectExpired, dropRetained, selectLoose, deleteLoose, deleteMessage,
		startWebhooks, placeAtHeads, selectBehind, selectPlace, savePlace,
		selectRevocation, deleteRevocation, insertRevocation, selectRevocations, sweepRevocations,
		selectSessionsOf, countCursors, selectCursorsSeen,
		selectOwnPlaces, selectBorn, readPiece, selectMoves, selectCreated)
	walks := regexp.MustCompile(`SCAN|TEMP B-TREE`)
	for _, query := range all {
		err := s.read(t.Context(), func(c *conn) error {
			return c.each(func(rows *sql.Rows) error {
				var id, parent, unused int
				var step string
				if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
					return err
				}
				if walks.MatchString(step) && !slices.Contains(strings.Split(allowed[query], ", "), step) {
					t.Errorf("%s\n\tof: %s", step, strings.Join(strings.Fields(query), " "))
				}
				return nil
			}, "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
		})
		if err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
}
