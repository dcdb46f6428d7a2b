package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	kongyaml "github.com/alecthomas/kong-yaml"

	"github.com/parley-mqtt/parley/internal/app"
)

// configFlag names the file with settings. It is one itself, but not a key of
// the file.
type configFlag struct {
	Config string `name:"config" placeholder:"FILE" help:"YAML file with settings, each under the name of its flag."`
}

const (
	configName = "config"
	envPrefix  = "PARLEY_"
)

// envName is the variable of a setting: one rule for all.
func envName(setting string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

var settingNames = app.Settings()

// settingTag marks the flags of other subcommands than serve that are settings
// too. The same name may be an ordinary flag elsewhere.
const settingTag = "setting"

// otherSettings are the names of those. Their variables are known everywhere,
// so that one environment serves all.
var otherSettings = markedNames(reflect.TypeFor[bridgeOptions]())

func markedNames(options reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(options) {
		if _, marked := f.Tag.Lookup(settingTag); marked {
			names = append(names, f.Tag.Get("name"))
		}
	}
	return names
}

func isSetting(name string) bool {
	return name == configName || slices.Contains(settingNames, name)
}

// settings gives kong what variables and file say of flags that are not on the
// command line. A variable counts before the file. What is set counts even
// when it is empty: so a default is turned off.
type settings struct {
	env    []string
	vars   map[string]string // by name of the setting
	file   map[string]fileValue
	loaded bool
	err    error
}

// Validate has nothing to do: what is unknown was found by Resolve.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve answers what variables and file say of a flag, or nil. The first
// call reads them all, so that an unknown name is found whichever flags the
// subcommand has. A subcommand without settings reads nothing.
func (s *settings) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !isSetting(flag.Name) && !flag.Tag.Has(settingTag) {
		return nil, nil
	}
	if !s.loaded {
		s.loaded = true
		s.err = s.load(ctx)
	}
	if s.err != nil {
		return nil, &app.SettingError{Err: s.err}
	}
	text, ok := s.vars[flag.Name]
	if !ok {
		var v fileValue
		v, ok = s.file[flag.Name]
		text = string(v)
	}
	if !ok || text == "" && flag.IsSlice() {
		return nil, nil
	}
	return text, nil
}

func (s *settings) load(ctx *kong.Context) error {
	if err := s.loadEnv(); err != nil {
		return err
	}
	path := s.vars[configName]
	for _, flag := range ctx.Flags() {
		if flag.Name != configName {
			continue
		}
		if typed, ok := ctx.FlagValue(flag).(string); ok && typed != "" {
			path = typed
		}
	}
	if path == "" {
		return nil
	}
	file, err := readFile(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(file)) {
		if name == configName || !isSetting(name) && !s.marked(ctx, name) {
			return fmt.Errorf("%s: is not a setting (in %s)", name, path)
		}
	}
	s.file = file
	return nil
}

// marked says whether the subcommand has a setting of its own of this name.
func (s *settings) marked(ctx *kong.Context, name string) bool {
	return slices.ContainsFunc(ctx.Flags(), func(f *kong.Flag) bool { return f.Name == name && f.Tag.Has(settingTag) })
}

func (s *settings) loadEnv() error {
	byVariable := map[string]string{envName(configName): configName}
	for _, name := range slices.Concat(settingNames, otherSettings) {
		byVariable[envName(name)] = name
	}
	inKubernetes := slices.ContainsFunc(s.env, func(e string) bool {
		return strings.HasPrefix(e, "KUBERNETES_SERVICE_HOST=")
	})
	s.vars = make(map[string]string)
	for _, e := range s.env {
		variable, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(variable, envPrefix) {
			continue
		}
		name, ok := byVariable[variable]
		switch {
		case ok:
			s.vars[name] = value
		case variable == tokenVariable || variable == urlVariable: // of those who use a server
		case !inKubernetes || !serviceVariable.MatchString(variable):
			return fmt.Errorf("%s: is not a setting (in the environment)", variable)
		}
	}
	return nil
}

// serviceVariable matches what Kubernetes sets in every pod for a service
// whose name begins with parley.
var serviceVariable = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)

// fileValue is a value in the file: text, or a list of texts, which is kept as
// one text with commas. Numbers and the like stay as they are written.
type fileValue string

// UnmarshalYAML reads the value. Its error does not repeat it, because it may
// be a secret.
func (v *fileValue) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if unmarshal(&text) == nil {
		*v = fileValue(text)
		return nil
	}
	var list []string
	if unmarshal(&list) == nil {
		for i := range list {
			list[i] = strings.ReplaceAll(list[i], ",", `\,`) // as on the command line
		}
		*v = fileValue(strings.Join(list, ","))
		return nil
	}
	return errors.New("a value is neither a text nor a list of texts")
}

func readFile(path string) (map[string]fileValue, error) {
	var values map[string]fileValue
	scan := kong.Scan().PushTyped(path, kong.FlagValueToken)
	err := kongyaml.YAMLFileMapper.Decode(&kong.DecodeContext{Scan: scan}, reflect.ValueOf(&values).Elem())
	if err != nil && !errors.Is(err, io.EOF) { // it is empty
		return nil, err
	}
	return values, nil
}
