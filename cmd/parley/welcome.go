package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/parley-mqtt/parley/internal/app"
)

// addresses are where a server listens; "" is off. app says that the web app
// is in this build.
type addresses struct {
	mqtt, mqtts, http string
	app               bool
}

// welcome prints where the server is, and what to type for a first token and
// a first message. It goes to stdout: the log, which machines may read, is on
// stderr.
func (cmd *serveCmd) welcome(c *call, at addresses) error {
	o := &cmd.Options
	var b strings.Builder
	fmt.Fprintf(&b, "Parley %s\n\n", app.ReadBuild().Version)
	if at.mqtt != "" {
		fmt.Fprintf(&b, "  MQTT      %s\n", at.mqtt)
	}
	if at.mqtts != "" {
		fmt.Fprintf(&b, "  MQTTS     %s\n", at.mqtts)
	}
	if at.http != "" {
		fmt.Fprintf(&b, "  HTTP      %s%s (MQTT over WebSocket at /mqtt)\n", cmd.scheme(), at.http)
		fmt.Fprintf(&b, "  Web app   %s\n", cmd.webApp(at))
	}
	fmt.Fprintf(&b, "  Database  %s\n", o.Database())
	if o.UsesDataDir() {
		fmt.Fprintf(&b, "  Data      %s\n", o.DataDir)
	}
	b.WriteString("\n")
	cmd.firstSteps(&b, c.program, at)
	_, err := fmt.Fprintln(c.stdout, b.String())
	return err
}

// webApp says where to chat in a browser, and how to sign in there.
func (cmd *serveCmd) webApp(at addresses) string {
	switch url := cmd.scheme() + reachable(at.http) + "/"; {
	case !at.app:
		return "not in this build; make build adds it, with Node.js 20 and npm"
	case cmd.Options.DevLogin:
		return url + " (sign in by any name, on this machine)"
	default:
		return url + " (sign in with a token)"
	}
}

// scheme is how URLs of the server begin.
func (cmd *serveCmd) scheme() string {
	if cmd.Options.TLSCert != "" {
		return "https://"
	}
	return "http://"
}

func (cmd *serveCmd) firstSteps(b *strings.Builder, program string, at addresses) {
	if name := cmd.Options.ForeignKey(); name != "" {
		fmt.Fprintf(b, "Tokens are signed by the holder of the key in %s.\n", name)
		return
	}
	note := ""
	if cmd.Options.JWTSecret != "" {
		note = " (with the same jwt-secret)"
	}
	fmt.Fprintf(b, "A first token%s:\n\n  TOKEN=$(%s)\n", note, cmd.tokenCommand(program))
	if at.http == "" {
		return // conversations are made over HTTP
	}
	url := cmd.scheme() + reachable(at.http) + "/v1/conversations"
	const head = `-H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json"`
	fmt.Fprintf(b, "\nA first message:\n\n  curl %s \\\n    -d '{\"id\": \"c1\", \"members\": [\"bob\"]}' %s\n", head, url)
	if at.mqtt == "" {
		fmt.Fprintf(b, "  curl %s \\\n    -d '{\"content\": \"hello\"}' %s/c1/messages\n", head, url)
		return
	}
	host, port, _ := net.SplitHostPort(reachable(at.mqtt)) // it is an address of a listener
	fmt.Fprintf(b, "  mosquitto_pub -h %s -p %s -u alice -P \"$TOKEN\" -q 1 -t chat/c1/messages -m hello\n", host, port)
}

// tokenCommand is what to type for a token that this server takes.
func (cmd *serveCmd) tokenCommand(program string) string {
	words := []string{program, "token", "--sub", "alice"}
	defaults := app.DefaultOptions()
	for _, flag := range []struct{ name, value, standard string }{
		{"config", cmd.Config, ""},
		{"data-dir", cmd.Options.DataDir, defaults.DataDir},
		{"jwt-issuer", cmd.Options.JWTIssuer, defaults.JWTIssuer},
		{"jwt-audience", cmd.Options.JWTAudience, defaults.JWTAudience},
	} {
		if flag.value != flag.standard {
			words = append(words, "--"+flag.name, flag.value)
		}
	}
	for i, w := range words {
		words[i] = quote(w)
	}
	return strings.Join(words, " ")
}

// quote makes one word of the shell.
func quote(s string) string {
	special := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// reachable is an address to connect to, where a listener is on all of them.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return addr
}
