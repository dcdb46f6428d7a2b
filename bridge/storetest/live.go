package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var liveTests = []test{
	{"Rosters", liveRosters},
	{"RosterAsOfHead", liveRosterAsOfHead},
	{"People", livePeople},
	{"Release", liveRelease},
	{"Acquainted", liveAcquainted},
}

func (e *env) rosters(streams ...chat.StreamID) []bridge.Roster {
	e.Helper()
	got, err := e.s.Rosters(e.ctx, streams)
	e.ok(err, "rosters")
	if len(got) != len(streams) {
		e.Fatalf("Rosters gave %d answers for %d streams", len(got), len(streams))
	}
	for _, r := range got {
		slices.SortFunc(r.Members, func(a, b bridge.RosterMember) int {
			if a.UserID < b.UserID {
				return -1
			}
			return 1
		})
	}
	return got
}

func (e *env) savePeople(people ...bridge.Person) {
	e.Helper()
	e.ok(again(func() error { return e.s.SavePeople(e.ctx, people) }), "save people")
}

func (e *env) people(users ...string) []bridge.Person {
	e.Helper()
	got, err := e.s.People(e.ctx, users)
	e.ok(err, "people")
	return got
}

// liveRosters: the members as they are now, with their last time; nobody who
// has left, nothing of what does not exist.
func liveRosters(e *env) {
	e.create("a", alice, bob)
	e.create("b", carol)
	seen := e.tick()
	e.savePeople(bridge.Person{UserID: bob, LastSeen: seen}, bridge.Person{UserID: nobody, LastSeen: seen})
	_, err := e.s.RemoveMember(e.ctx, e.tick(), actor(owner), "a", alice, newID())
	e.ok(err, "remove")
	got := e.rosters("c/b", "c/"+noConv, "c/a", "c/b")
	b := bridge.Roster{Head: bridge.Head{Head: 2, First: 1}, Members: []bridge.RosterMember{{UserID: carol}, {UserID: owner}}}
	equal(e, got, []bridge.Roster{b, {}, {Head: bridge.Head{Head: 4, First: 1},
		Members: []bridge.RosterMember{{UserID: bob, LastSeen: seen}, {UserID: owner}}}, b}, "rosters")
	equal(e, len(e.rosters()), 0, "no rosters")
}

// liveRosterAsOfHead: while members come and go, each answer is that of the
// entries up to its head.
func liveRosterAsOfHead(e *env) {
	const turns = 60
	e.create("a", alice)
	done := make(chan error, 1)
	go func() {
		defer close(done)
		for range turns {
			err := again(func() error {
				_, err := e.s.RemoveMember(e.ctx, e.tick(), actor(owner), "a", alice, newID())
				return err
			})
			if err == nil {
				_, _, err = e.tryPut(actor(owner), "a", alice, chat.RoleMember)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for running := true; running; {
		select {
		case err := <-done:
			e.ok(err, "coming and going")
			running = false
		default:
		}
		r := e.rosters("c/a")[0]
		// Entries 1 and 2 are the first joins, then alice leaves and joins.
		want := 2 - int(r.Head.Head)%2
		if len(r.Members) != want {
			e.Fatalf("at head %d: members %v, want %d", r.Head.Head, r.Members, want)
		}
	}
}

// livePeople: what is saved replaces what stood, whole.
func livePeople(e *env) {
	at := e.tick()
	equal(e, e.people(alice), []bridge.Person{{UserID: alice}}, "never saved")
	e.savePeople(bridge.Person{UserID: alice, Online: true}, bridge.Person{UserID: bob, LastSeen: at})
	equal(e, e.people(bob, alice, nobody), []bridge.Person{{UserID: bob, LastSeen: at}, {UserID: alice, Online: true},
		{UserID: nobody}}, "saved")
	later := e.tick().Add(700 * time.Microsecond) // kept in whole milliseconds
	e.savePeople(bridge.Person{UserID: alice, LastSeen: later})
	e.savePeople()
	equal(e, e.people(alice), []bridge.Person{{UserID: alice, LastSeen: later.Truncate(time.Millisecond)}}, "saved again")
	var many []bridge.Person
	for i := range 1500 {
		many = append(many, bridge.Person{UserID: fmt.Sprint("u", i), Online: i%2 == 0, LastSeen: at})
	}
	e.savePeople(many...)
	equal(e, e.people("u0", "u1499"), []bridge.Person{many[0], many[1499]}, "many")
}

// liveRelease: those that are marked as online were there until then; others
// stay.
func liveRelease(e *env) {
	at := e.tick()
	e.savePeople(bridge.Person{UserID: alice, Online: true, LastSeen: at}, bridge.Person{UserID: bob, LastSeen: at},
		bridge.Person{UserID: carol, Online: true})
	later := e.tick()
	for range 2 {
		e.ok(again(func() error { return e.s.ReleasePeople(e.ctx, later) }), "release")
		equal(e, e.people(alice, bob, carol), []bridge.Person{{UserID: alice, LastSeen: later}, {UserID: bob, LastSeen: at},
			{UserID: carol, LastSeen: later}}, "released")
		e.reopen()
	}
}

// liveAcquainted: members of one conversation know each other, now.
func liveAcquainted(e *env) {
	e.create("a", alice, bob)
	e.create("b", carol, alice)
	ask := func(viewer string, want ...bool) {
		e.Helper()
		got, err := e.s.Acquainted(e.ctx, viewer, []string{alice, bob, carol, nobody, owner, bob})
		e.ok(err, "acquainted with %s", viewer)
		equal(e, got, want, "acquainted with %s", viewer)
	}
	ask(alice, true, true, true, false, true, true)
	ask(bob, true, true, false, false, true, true)
	ask(nobody, false, false, false, true, false, false)
	_, err := e.s.RemoveMember(e.ctx, e.tick(), actor(owner), "a", bob, newID())
	e.ok(err, "remove")
	ask(alice, true, false, true, false, true, false)
	ask(bob, false, true, false, false, false, true)
}
