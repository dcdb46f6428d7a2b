package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/webhook"
)

// verify reports whether a request was signed with the secret within the last
// five minutes. body is what was read, byte by byte.
func verify(secret []byte, header string, body []byte, now time.Time) bool {
	t, sum, ok := strings.Cut(strings.TrimPrefix(header, "t="), ",v1=")
	seconds, err := strconv.ParseInt(t, 10, 64)
	if !ok || err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(t + "."))
	mac.Write(body)
	got, err := hex.DecodeString(sum)
	return err == nil && hmac.Equal(got, mac.Sum(nil))
}

// The snippets of docs/webhooks.md take what is signed, and nothing else.
func TestSnippets(t *testing.T) {
	docs, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.ReadFile("docs_test.go")
	if err != nil {
		t.Fatal(err)
	}
	snippets := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```(go|js)\n(.*?)```").FindAllStringSubmatch(string(docs), -1) {
		snippets[m[1]] = m[2]
	}
	if snippets["go"] == "" || !strings.Contains(string(here), snippets["go"]) {
		t.Error("the Go of docs/webhooks.md is not the verify of this test")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}

	now := time.Now()
	body := `{"content":"ünïcode 👍 \"}`
	good := webhook.Sign([]byte(secret), now, []byte(body))
	for name, tt := range map[string]struct {
		secret, header, body string
		want                 bool
	}{
		"good":             {secret, good, body, true},
		"four minutes old": {secret, webhook.Sign([]byte(secret), now.Add(-4*time.Minute), []byte(body)), body, true},
		"six minutes old":  {secret, webhook.Sign([]byte(secret), now.Add(-6*time.Minute), []byte(body)), body, false},
		"from the future":  {secret, webhook.Sign([]byte(secret), now.Add(6*time.Minute), []byte(body)), body, false},
		"other secret":     {secret + "x", good, body, false},
		"other body":       {secret, good, body + " ", false},
		"other time":       {secret, strings.Replace(good, "t=", "t=0", 1), body, false},
		"cut":              {secret, good[:len(good)-2], body, false},
		"none":             {secret, "", body, false},
		"nonsense":         {secret, "t=x,v1=y", body, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := verify([]byte(tt.secret), tt.header, []byte(tt.body), now); got != tt.want {
				t.Errorf("Go says %v", got)
			}
			cmd := exec.CommandContext(t.Context(), node, "-e", snippets["js"]+
				"\nconsole.log(verify(process.argv[1], process.argv[2], Buffer.from(process.argv[3])))", tt.secret, tt.header, tt.body)
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != strconv.FormatBool(tt.want) {
				t.Errorf("Node says %s, %v", got, err)
			}
		})
	}
}
