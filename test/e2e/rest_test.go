package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// rest speaks to one server over HTTP. It may be used from any goroutine.
type rest struct {
	url    string // without a slash at the end
	client *http.Client
}

func newREST(t testing.TB, addr string) *rest {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &rest{url: "http://" + addr, client: &http.Client{Transport: transport, Timeout: 15 * time.Second}}
}

// do sends a request. body is sent as JSON unless it is nil; the answer is
// decoded into the last argument unless that is nil. An error means that there
// was no whole answer.
func (r *rest) do(method, path, token string, body, into any) (status int, err error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, r.url+path, content)
	if err != nil {
		return 0, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := r.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	if into != nil && res.StatusCode < 300 {
		if err := json.Unmarshal(text, into); err != nil {
			return 0, fmt.Errorf("%s %s: %w in %s", method, path, err, text)
		}
	}
	return res.StatusCode, nil
}

// status answers the status of a GET without a token, 0 when there was no
// answer.
func (r *rest) status(path string) int {
	status, err := r.do(http.MethodGet, path, "", nil, nil)
	if err != nil {
		return 0
	}
	return status
}

// page is a page of history.
type page struct {
	Items   []parleytest.Entry `json:"items"`
	HeadSeq uint64             `json:"headSeq"`
}

// historyAfter reads the entries of a conversation after a seq to its head,
// page by page. Others may be sending: the head is that of the last page.
func (r *rest) historyAfter(t testing.TB, token, conversation string, after uint64) []parleytest.Entry {
	t.Helper()
	var all []parleytest.Entry
	for empty := 0; empty < 10; {
		var p page
		path := fmt.Sprintf("/v1/conversations/%s/messages?after=%d&limit=200", conversation, after)
		status, err := r.do(http.MethodGet, path, token, nil, &p)
		if err != nil || status != http.StatusOK {
			t.Fatalf("GET %s: status %d, %v", path, status, err)
		}
		if all = append(all, p.Items...); len(p.Items) > 0 {
			after = p.Items[len(p.Items)-1].Seq
		} else {
			empty++ // the head may have moved since the entries were read
		}
		if after == p.HeadSeq {
			return all
		}
	}
	t.Fatalf("history of %s ends at %d, before its headSeq", conversation, after)
	return nil
}

// metric reads one metric without labels.
func (r *rest) metric(t testing.TB, name string) float64 {
	t.Helper()
	res, err := r.client.Get(r.url + "/metrics")
	if err != nil {
		t.Fatalf("metrics: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatalf("metric %s: %v", name, err)
			}
			return v
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
