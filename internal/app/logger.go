package app

import "log/slog"

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug,
	"info":  slog.LevelInfo,
	"warn":  slog.LevelWarn,
	"error": slog.LevelError,
}

// Logger makes the logger that valid options describe.
func (o *LogOptions) Logger() *slog.Logger {
	if o.LogTo == nil {
		return slog.New(slog.DiscardHandler)
	}
	opts := &slog.HandlerOptions{Level: logLevels[o.LogLevel]}
	if o.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(o.LogTo, opts))
	}
	return slog.New(slog.NewTextHandler(o.LogTo, opts))
}
