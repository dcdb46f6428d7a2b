package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// killRounds is how often the server is killed on each database.
const killRounds = 20

// A server that is killed at any moment loses nothing that it acknowledged,
// doubles nothing that has a clientId, and its durable subscribers miss
// nothing.
func TestKill9UnderLoad(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		chance := chances(t)
		srv := startServer(t, backend, options{})
		l := newLoad(t, srv)
		l.start()
		for round := 1; round <= killRounds; round++ {
			away := l.subs[len(l.subs)-1]
			switch round % 4 {
			case 2: // it misses whole lives of the server
				away.leave()
			case 0:
				away.comeBack()
			}
			l.awaitAcks(1, patience)
			if round%5 == 0 {
				l.addConversation(fmt.Sprintf("late%d", round))
			}
			// Most rounds are short, so that there are many; some are longer
			// than a second, so that cursors must have been saved.
			life := between(chance, time.Millisecond, 800*time.Millisecond)
			if chance.IntN(3) == 0 {
				life = between(chance, 1500*time.Millisecond, 3*time.Second)
			}
			srv.letRun(life)
			srv.crash()
			if chance.IntN(3) == 0 { // a start that is killed must do no harm either
				srv.begin()
				srv.letRun(between(chance, 0, 60*time.Millisecond))
				srv.crash()
			}
			srv.start()
			l.check()
			if t.Failed() {
				t.Fatalf("round %d, killed after %v", round, life)
			}
		}
		l.finish()
		t.Logf("%d sends acknowledged", l.acked.Load())
	})
}

// addConversation makes a conversation of all members while the server runs.
// The subscribers follow it without a new SUBSCRIBE.
func (l *load) addConversation(id string) {
	l.t.Helper()
	for i, user := range l.members() {
		for _, s := range l.subs {
			if s.user == user {
				s.expect(id, uint64(i)+1)
			}
		}
	}
	l.srv.conversation(id, l.members()...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.convs = append(slices.Clone(l.convs), id) // senders may hold the old one
}

// What the race detector sees in a server under load, while clients come and
// go and it is asked to stop.
func TestServerHasNoDataRace(t *testing.T) {
	binary, err := raceProgram()
	if err != nil {
		t.Fatal(err)
	}
	parleytest.Each(t, func(t *testing.T, backend string) {
		srv := startServer(t, backend, options{program: binary})
		l := newLoad(t, srv)
		l.start()
		for range 2 {
			l.awaitAcks(300, patience)
			l.subs[0].leave()
			l.awaitAcks(300, patience)
			l.subs[0].comeBack()
			srv.now.Terminate()
			// The race detector has the process exit with 66 when it saw one.
			if code := srv.now.Wait(patience); code != 0 {
				t.Fatalf("exit code %d\n%s", code, srv.now.Stderr.Last(100))
			}
			srv.start()
			l.check()
		}
		if status := srv.rest.status("/metrics"); status != http.StatusOK {
			t.Errorf("/metrics answered %d", status)
		}
		l.finish()
	})
}
