package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/parley-mqtt/parley/internal/app"
	"github.com/parley-mqtt/parley/internal/bench"
)

type benchCmd struct {
	Target  string            `name:"target" placeholder:"HOST:PORT" help:"A running MQTT server. Default: a parley of its own for each run, with new data."`
	HTTP    string            `name:"http" placeholder:"URL" help:"Of a running Parley: where its REST is. Conversations are created there, and removed in the end."`
	PID     int               `name:"pid" placeholder:"PID" help:"The target's process, to measure its CPU and memory."`
	AlsoPID map[string]int    `name:"also-pid" placeholder:"NAME=PID" help:"A process beside the server, like postgres, with its children; or that of an --against of this name. May be repeated."`
	Against map[string]string `name:"against" placeholder:"NAME=WHAT" help:"Another server to run in turn: the path of a mosquitto or a parley to start, or HOST:PORT. May be repeated."`
	Program string            `name:"program" placeholder:"PATH" help:"The parley to start. Default: this one."`

	Case          string  `name:"case" placeholder:"CASE" help:"chat: conversations in which all send and read; fanout: one sends and many read; topic: fanout on an ordinary topic; submit: chat without readers. Default: chat, with --table all."`
	Conversations int     `name:"conversations" placeholder:"N" default:"100" help:"Of chat and submit. Default: 100."`
	Members       int     `name:"members" placeholder:"N" default:"10" help:"Of each conversation. Default: 10."`
	Subscribers   int     `name:"subscribers" placeholder:"N" default:"100" help:"Of fanout and topic. Default: 100."`
	QoS           int     `name:"qos" placeholder:"N" default:"1" help:"Of publishers and subscribers, 0 or 1. Default: 1."`
	Size          int     `name:"size" placeholder:"BYTES" help:"Of a payload. Default: 200; fanout and topic 100."`
	Inflight      int     `name:"inflight" placeholder:"N" help:"Unacknowledged messages of a sender. Default: 1; 16 for submit and with --rate."`
	Outstanding   int     `name:"outstanding" placeholder:"N" help:"Of fanout and topic: deliveries under way. Default: 10000."`
	Rate          float64 `name:"rate" placeholder:"N" help:"Messages a second of all senders; latency counts from when they are due. Default: as fast as acknowledged."`

	Seconds float64 `name:"seconds" placeholder:"N" default:"5" help:"How long a run measures. Default: 5."`
	Warmup  float64 `name:"warmup" placeholder:"N" default:"1" help:"Seconds before that. Default: 1."`
	Runs    int     `name:"runs" placeholder:"N" default:"3" help:"How often. Default: 3."`

	Idle  int    `name:"idle" placeholder:"N" help:"Open N connections that do nothing, instead of a load, and print the memory of each. Takes some minutes."`
	Over  string `name:"over" placeholder:"WAY" default:"tcp" help:"Of --idle: tcp, tls, ws or wss. Default: tcp."`
	Storm int    `name:"storm" placeholder:"N" help:"Of --idle: cut N of them in the end, and print how long it takes until all that come back at once are connected."`

	Online int     `name:"online" placeholder:"N" help:"Connect N users, instead of a load, of whom some leave and come back all the while, and print what presence costs and how late it is. Use --seconds 600."`
	Rooms  int     `name:"rooms" placeholder:"N" default:"20" help:"Of --online: conversations of each user, of --members each. Default: 20."`
	Churn  float64 `name:"churn" placeholder:"N" default:"200" help:"Of --online: how many a second leave, and as many come back. Default: 200."`

	Table bool `name:"table" help:"Run all cases, with the embedded database and, with --database-url, on Postgres."`
	JSON  bool `name:"json" help:"Print every run as JSON instead of tables."`

	configFlag
	app.DatabaseOptions
	app.DataOptions
	app.TokenOptions
}

// Help tells what the flags alone do not.
func (*benchCmd) Help() string {
	return "Prints messages and deliveries a second, latency, CPU and memory, and what was lost, doubled or " +
		"swapped: the median of the runs, with the least and the most. Ends with an error if Parley lost, " +
		"doubled or swapped anything. Tokens for a running Parley are signed with --jwt-secret or the secret in --data-dir. " +
		"Linux only."
}

// Run measures and prints.
func (cmd *benchCmd) Run(c *call) error {
	ctx, release := signal.NotifyContext(c, os.Interrupt, syscall.SIGTERM)
	defer release()

	if cmd.Idle != 0 {
		return cmd.idle(ctx, c)
	}
	if cmd.Online != 0 {
		return cmd.online(ctx, c)
	}
	comparison := &bench.Comparison{Runs: max(cmd.Runs, 1), Progress: c.stderr}
	var err error
	if comparison.Loads, err = cmd.loads(); err != nil {
		return &app.SettingError{Err: err}
	}
	if comparison.Servers, err = cmd.servers(ctx); err != nil {
		return err
	}
	report, err := comparison.Run(ctx)
	if err != nil {
		return err
	}
	if err := cmd.print(c, report); err != nil {
		return err
	}
	if err := report.Err(); err != nil {
		return fmt.Errorf("the server is wrong: %w", err)
	}
	return nil
}

func (cmd *benchCmd) transport() bench.Transport { return bench.Transport(cmd.Over) }

// idle measures connections that do nothing.
func (cmd *benchCmd) idle(ctx context.Context, c *call) error {
	idle := &bench.Idle{Conns: cmd.Idle, Over: cmd.transport(), Storm: cmd.Storm}
	if err := idle.Check(); err != nil {
		return &app.SettingError{Err: err}
	}
	servers, err := cmd.servers(ctx)
	if err != nil {
		return err
	}
	var results []*bench.IdleResult
	for _, s := range servers {
		r, err := idle.Run(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		results = append(results, r)
	}
	if cmd.JSON {
		return printJSON(c.stdout, results)
	}
	return bench.IdleTable(c.stdout, idle, results)
}

// online measures users who see each other come and go.
func (cmd *benchCmd) online(ctx context.Context, c *call) error {
	online := &bench.Online{Users: cmd.Online, Rooms: cmd.Rooms, Members: cmd.Members, Churn: cmd.Churn, Measure: seconds(cmd.Seconds)}
	if err := online.Check(); err != nil {
		return &app.SettingError{Err: err}
	}
	servers, err := cmd.servers(ctx)
	if err != nil {
		return err
	}
	var results []*bench.OnlineResult
	var wrong error
	for _, s := range servers {
		r, err := online.Run(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		results = append(results, r)
		wrong = errors.Join(wrong, r.Err())
	}
	if cmd.JSON {
		err = printJSON(c.stdout, results)
	} else {
		err = bench.OnlineTable(c.stdout, online, results)
	}
	return errors.Join(err, wrong)
}

func printJSON(w io.Writer, v any) error {
	text := json.NewEncoder(w)
	text.SetIndent("", "  ")
	return text.Encode(v)
}

func (cmd *benchCmd) print(c *call, report *bench.Report) error {
	if cmd.JSON {
		return printJSON(c.stdout, report)
	}
	if err := report.Markdown(c.stdout); err != nil {
		return err
	}
	if !cmd.Table {
		return nil
	}
	_, err := fmt.Fprintf(c.stdout, "\nMade by:\n\n    %s\n", cmd.line())
	return err
}

// loads are what the flags ask for.
func (cmd *benchCmd) loads() ([]bench.Load, error) {
	warmup, measure := seconds(cmd.Warmup), seconds(cmd.Seconds)
	if cmd.Seconds <= 0 || cmd.Warmup < 0 {
		return nil, errors.New("seconds, warmup: must not be negative, and seconds not 0")
	}
	if cmd.Table && cmd.Case == "" {
		return bench.Standard(warmup, measure), nil
	}
	load := bench.Load{Case: bench.Case(cmd.Case), Conversations: cmd.Conversations, Members: cmd.Members,
		Subscribers: cmd.Subscribers, QoS: cmd.QoS, Size: cmd.Size, Inflight: cmd.Inflight,
		Outstanding: cmd.Outstanding, Rate: cmd.Rate, Warmup: warmup, Measure: measure}
	err := load.Fill()
	return []bench.Load{load}, err
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// servers are those that take turns: others first, then Parley.
func (cmd *benchCmd) servers(ctx context.Context) ([]bench.Server, error) {
	var servers []bench.Server
	for _, name := range slices.Sorted(maps.Keys(cmd.Against)) {
		s, err := cmd.other(ctx, name, cmd.Against[name])
		if err != nil {
			return nil, &app.SettingError{Err: fmt.Errorf("against: %w", err)}
		}
		servers = append(servers, s)
	}
	if cmd.Target != "" {
		t, err := cmd.target()
		if err != nil {
			return nil, err
		}
		return append(servers, bench.Existing(t)), nil
	}
	if cmd.HTTP != "" || cmd.PID != 0 {
		return nil, &app.SettingError{Err: errors.New("target: is missing: --http and --pid are about it")}
	}
	program, secure := cmd.Program, cmd.transport().Secure()
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	postgres := string(cmd.DatabaseURL)
	if postgres == "" || cmd.Table {
		servers = append(servers, bench.NewParley("Parley, embedded database", program, "", nil, secure))
	}
	if postgres != "" {
		servers = append(servers, bench.NewParley("Parley, Postgres", program, postgres, cmd.beside(), secure))
	}
	return servers, nil
}

// other is a server of --against.
func (cmd *benchCmd) other(ctx context.Context, name, what string) (bench.Server, error) {
	if _, _, err := net.SplitHostPort(what); err == nil && !strings.Contains(what, "/") {
		t := &bench.Target{Name: name, Addr: what}
		if pid := cmd.AlsoPID[name]; pid != 0 {
			t.Processes = []bench.Process{{Name: bench.ServerProcess, PID: pid}}
		}
		return bench.Existing(t), nil
	}
	switch base := filepath.Base(what); {
	case strings.HasPrefix(base, "mosquitto"):
		if version := bench.MosquittoVersion(ctx, what); version != "" {
			name += " " + version
		}
		return bench.NewMosquitto(name, what, nil), nil
	case strings.HasPrefix(base, "parley"):
		return bench.NewParley(name, what, "", nil, cmd.transport().Secure()), nil
	}
	return bench.Server{}, fmt.Errorf("%s is neither HOST:PORT nor a mosquitto or parley to start", what)
}

// target is the server of --target.
func (cmd *benchCmd) target() (*bench.Target, error) {
	t := &bench.Target{Name: cmd.Target, Addr: cmd.Target, Processes: cmd.beside()}
	if cmd.PID != 0 {
		t.Processes = append(t.Processes, bench.Process{Name: bench.ServerProcess, PID: cmd.PID})
	}
	if cmd.HTTP == "" {
		return t, nil
	}
	secret, err := cmd.Secret(cmd.DataOptions)
	if err != nil {
		return nil, err
	}
	t.Name = "Parley " + cmd.Target
	t.Parley = &bench.Parley{URL: strings.TrimSuffix(cmd.HTTP, "/"), Secret: secret,
		Issuer: cmd.JWTIssuer, Audience: cmd.JWTAudience}
	return t, nil
}

// beside are the processes of --also-pid that are not servers of --against.
func (cmd *benchCmd) beside() []bench.Process {
	var processes []bench.Process
	for _, name := range slices.Sorted(maps.Keys(cmd.AlsoPID)) {
		if _, ok := cmd.Against[name]; !ok {
			processes = append(processes, bench.Process{Name: name, PID: cmd.AlsoPID[name]})
		}
	}
	return processes
}

// line is a command that makes the same table.
func (cmd *benchCmd) line() string {
	words := []string{"parley", "bench", "--table"}
	if cmd.Case != "" {
		words = append(words, "--case", cmd.Case)
	}
	for _, name := range slices.Sorted(maps.Keys(cmd.Against)) {
		words = append(words, "--against", quote(name+"="+cmd.Against[name]))
	}
	if cmd.DatabaseURL != "" {
		words = append(words, "--database-url", "postgres://…")
	}
	for _, name := range slices.Sorted(maps.Keys(cmd.AlsoPID)) {
		words = append(words, "--also-pid", quote(name+"=PID"))
	}
	words = append(words, fmt.Sprintf("--seconds %g --warmup %g --runs %d", cmd.Seconds, cmd.Warmup, cmd.Runs))
	return strings.Join(words, " ")
}
