package ingest

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	syncFile = func(*os.File) error { return nil }
	goleak.VerifyTestMain(m)
}
