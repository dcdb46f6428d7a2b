package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/parley-mqtt/parley/internal/app"
	"github.com/parley-mqtt/parley/internal/doctor"
)

type doctorCmd struct {
	JSON    bool          `name:"json" help:"Print the findings as JSON instead of lines."`
	Webhook bool          `name:"webhook" help:"Connect to webhook-url too. It is sent nothing."`
	Timeout time.Duration `name:"timeout" placeholder:"TIME" default:"20s" help:"How long one check may take. Default: 20s."`

	configFlag
	Options app.Options `embed:""`
}

// Help tells what the flags alone do not.
func (*doctorCmd) Help() string {
	return "Give it the settings of parley serve, as the same user on the same machine. It looks at the settings, " +
		"the data folder, keys, certificates, the database, limits of the system and the ports, and at a server that runs " +
		"there already. It changes nothing and prints no secret. The exit code is 1 when something fails."
}

// toExamine is the command line where the settings of parley doctor are all
// that is wrong: it tells of them itself, and looks at the rest. That one does
// not exist was found before they had their values.
func toExamine(err error) (*kong.Context, bool) {
	var parse *kong.ParseError
	var setting *app.SettingError
	if !errors.As(err, &parse) || !errors.As(err, &setting) || parse.Context == nil || parse.Context.Error != nil {
		return nil, false
	}
	const foundByValidate = 80 // kong's code of usage errors
	selected := parse.Context.Selected()
	return parse.Context, selected != nil && selected.Name == "doctor" && parse.ExitCode() == foundByValidate
}

var errUnwell = errors.New("something is wrong, see above")

// Run prints what is found.
func (cmd *doctorCmd) Run(c *call) error {
	cfg := examined(&cmd.Options)
	cfg.Timeout = cmd.Timeout
	if !cmd.Webhook {
		cfg.WebhookURL = ""
	}
	var findings []doctor.Finding
	var failed error // of writing
	healthy := doctor.Run(c, cfg, func(f doctor.Finding) {
		f.Text, f.Advice = oneLine(errors.New(f.Text)), oneLine(errors.New(f.Advice))
		findings = append(findings, f)
		if !cmd.JSON {
			failed = errors.Join(failed, printFinding(c.stdout, f))
		}
	})
	if cmd.JSON {
		failed = printJSON(c.stdout, struct {
			Healthy  bool             `json:"healthy"`
			Findings []doctor.Finding `json:"findings"`
		}{healthy, findings})
	}
	if failed == nil && !healthy {
		return errUnwell
	}
	return failed
}

func printFinding(w io.Writer, f doctor.Finding) error {
	_, err := fmt.Fprintf(w, "%-4s  %-12s  %s\n", f.Level, f.Check, f.Text)
	if err == nil && f.Advice != "" {
		_, err = fmt.Fprintf(w, "%20s→ %s\n", "", f.Advice)
	}
	return err
}

// examined is what the doctor looks at of the settings.
func examined(o *app.Options) *doctor.Config {
	built, _ := time.Parse(time.RFC3339, app.ReadBuild().Time) // zero when it is not known
	return &doctor.Config{
		Wrong:    o.Problems(),
		MQTTAddr: o.MQTTAddr, MQTTSAddr: o.MQTTSAddr, HTTPAddr: o.HTTPAddr,
		ProxyProtocolFrom: o.ProxyProtocolFrom, Origins: o.WSOrigins, DevLogin: o.DevLogin,
		TLSCert: o.TLSCert, TLSKey: o.TLSKey, TLSClientCA: o.TLSClientCA, ClientCertRequired: o.RequiresClientCert(),
		MaxConnections: o.MaxConnections,
		DatabaseURL:    string(o.DatabaseURL), Migrate: o.Migrate, DatabaseFile: app.DatabaseFile,
		DataDir: o.DataDir, UsesDataDir: o.UsesDataDir(),
		JWTSecret: string(o.JWTSecret), UsesSecretFile: o.JWTSecret == "" && o.ForeignKey() == "",
		JWTPublicKeyFile: o.JWTPublicKeyFile, JWKSURL: string(o.JWKSURL), JWTIssuer: o.JWTIssuer, JWTAudience: o.JWTAudience,
		WebhookURL: strings.TrimSpace(string(o.WebhookURL)),
		Built:      built,
	}
}
