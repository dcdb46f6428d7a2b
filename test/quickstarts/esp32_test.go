package quickstarts_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The device's program does what its page says, over a stand-in for the
// library that needs no chip.
func TestESP32(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.ask("alice", http.MethodPost, "/conversations", map[string]any{"id": "kitchen", "members": []string{"fridge"}}, nil)
	tell := func(text string) {
		h.ask("alice", http.MethodPost, "/conversations/kitchen/messages", map[string]string{"content": text}, nil)
	}
	main := file(t, "docs/quickstart/esp32.md", "main.c").save(t, h.dir)
	device := filepath.Join(h.dir, "device")
	compile(t, "gcc", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-Itestdata/esp", "-o", device, main, "testdata/esp/standin.c")
	// A minute is left of it eight seconds after it is made; another is at hand.
	h.write("token", h.token("fridge", "--ttl", "68s"))
	h.write("token.fresh", h.token("fridge"))

	fridge := launch(t, h.dir, h.env(), device)
	fridge.expect(`^subscribed$`)
	fridge.expect(`^subscribed$`)
	fridge.types("say 1 4")
	fridge.expect(`"seq":3,.*"content":"4 °C","clientId":"fridge-1-1"`)
	fridge.types("door open")
	fridge.expect(`"seq":4,.*"content":"door open"`)
	tell(`what does "seq":99 mean?`)
	fridge.expect(`"seq":5,`)
	fridge.types("say 1 4") // again: it stands
	fridge.types(`{"content": 7}`)
	fridge.expect(`E parley: .*invalid`)
	fridge.expect(`^a fresh token$`)
	fridge.expect(`I parley: \d+ is committed`)
	tell(strings.Repeat("long ", 500)) // 6, larger than the buffer
	tell("close it")
	fridge.expect(`"seq":7,.*"content":"close it"`)

	h.hasRead("fridge", "kitchen", 7) // and has stored it

	fridge.Kill()
	h.write("token", h.token("fridge"))
	if err := os.Remove(filepath.Join(h.dir, "token.fresh")); err != nil {
		t.Fatal(err)
	}
	tell("while it slept")
	fridge = launch(t, h.dir, h.env(), device)
	if before, _ := fridge.expect(`"seq":8,.*"content":"while it slept"`); strings.Contains(before, `"seq":7`) {
		t.Errorf("the device was given what it had:\n%s", before)
	}
	h.server.Kill()
	fridge.types("say 2 5")
	h.start()
	fridge.expect(`"seq":9,.*"content":"5 °C","clientId":"fridge-1-2"`)
	h.hasRead("fridge", "kitchen", 9)
}
