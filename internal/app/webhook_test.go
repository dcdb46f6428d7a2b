package app

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/chat"
)

// A server tells the backend that is set, and signs with the secret of the
// file.
func TestWebhooks(t *testing.T) {
	for _, name := range []string{"SQLite", "Postgres"} {
		t.Run(name, func(t *testing.T) {
			told := make(chan map[string]any, 100)
			backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				var event map[string]any
				body, err := io.ReadAll(r.Body)
				if err == nil {
					err = json.Unmarshal(body, &event)
				}
				if err != nil || !strings.HasPrefix(r.Header.Get("User-Agent"), "Parley/") || r.Header.Get("Parley-Signature") == "" {
					t.Errorf("got %q with %v: %v", body, r.Header, err)
				}
				told <- event
			}))
			defer backend.Close()
			o := testOptions(t)
			if name == "Postgres" {
				o = onPostgres(t, o)
				o.Migrate = true
			}
			o.WebhookURL, o.WebhookEvents = Secret(backend.URL), []string{"message.created", "user.offline_message"}
			o.WebhookSecretFile = filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(o.WebhookSecretFile, []byte(testSecret+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			a := start(t, o)
			say(t, a)
			for _, kind := range []string{"message.created", "user.offline_message"} {
				if event := <-told; event["type"] != kind || event["conversationId"] != "c" {
					t.Errorf("told %v, want %s", event, kind)
				}
			}
		})
	}
}

// say has alice say something to bob, who is away.
func say(t *testing.T, a *App) {
	t.Helper()
	_, _, err := a.log.CreateConversation(t.Context(), "alice", "c", "", []string{"bob"})
	if err == nil {
		_, err = a.log.Commit(t.Context(), chat.Draft{Stream: chat.ConversationStream("c"), SenderID: "alice",
			Body: chat.Body{Type: chat.TypeMessage, Content: "hi"}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A backend that is out of reach does not make the server so.
func TestReadyWithoutBackend(t *testing.T) {
	o := testOptions(t)
	o.WebhookURL, o.WebhookSecret = Secret("http://"+closedPort(t)), testSecret
	a := start(t, o)
	say(t, a)
	if status, body := get(t, a, "/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
}

func TestWebhookSecretFile(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte(testSecret[:31]+"\n\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"missing": "webhook-secret-file: open missing",
		short:     "webhook-secret-file: must hold at least 32 bytes, has 31",
	} {
		o := testOptions(t)
		o.WebhookURL, o.WebhookSecretFile = "http://h", file
		if _, err := New(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
