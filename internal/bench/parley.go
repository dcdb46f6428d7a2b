package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/parley-mqtt/parley/acl"
)

// Parley is what a Parley server needs beside the packets: tokens, and
// conversations with members.
type Parley struct {
	URL    string // of its HTTP address, like http://localhost:8080
	Secret []byte // that tokens are signed with
	// Issuer and Audience stand in the tokens when they are set.
	Issuer, Audience string
	Roots            *x509.CertPool // that HTTPS is trusted by; nil are the system's
}

// tokenTime is longer than a run.
const tokenTime = 24 * time.Hour

// createAtOnce is how many conversations are made at the same time.
const createAtOnce = 8

// membersAtOnce is how many members one request may name.
const membersAtOnce = 1000

func (p *Parley) token(user string) (string, error) {
	return acl.Mint(p.Secret, acl.Claims{Subject: user, TTL: tokenTime, Issuer: p.Issuer, Audience: p.Audience,
		Pub: ordinary, Sub: ordinary})
}

// ordinary are the topics of Topic.
var ordinary = []string{"bench/#"}

// owner is who creates the conversation of a stream.
func owner(s *stream) string { return s.senders[0].user }

// create makes the conversations. It returns the seq of the newest entry in
// each.
func (p *Parley) create(ctx context.Context, streams []*stream, conns []*conn) ([]uint64, error) {
	members := make([][]string, len(streams))
	for _, c := range conns {
		if i := c.stream.index; c.user != owner(c.stream) {
			members[i] = append(members[i], c.user)
		}
	}
	heads := make([]uint64, len(streams))
	err := parallel(ctx, createAtOnce, len(streams), func(ctx context.Context, i int) error {
		s, rest := streams[i], members[i]
		first := rest[:min(len(rest), membersAtOnce)]
		_, err := p.ask(ctx, http.MethodPost, "/v1/conversations", owner(s), map[string]any{"id": s.id, "members": first})
		if err != nil {
			return err
		}
		for _, user := range rest[len(first):] {
			path := "/v1/conversations/" + s.id + "/members/" + user
			if _, err := p.ask(ctx, http.MethodPut, path, owner(s), map[string]any{}); err != nil {
				return err
			}
		}
		heads[i], err = p.head(ctx, s)
		return err
	})
	return heads, err
}

// heads returns the seq of the newest entry of each stream.
func (p *Parley) heads(ctx context.Context, streams []*stream) ([]uint64, error) {
	heads := make([]uint64, len(streams))
	err := parallel(ctx, createAtOnce, len(streams), func(ctx context.Context, i int) (err error) {
		heads[i], err = p.head(ctx, streams[i])
		return err
	})
	return heads, err
}

func (p *Parley) head(ctx context.Context, s *stream) (uint64, error) {
	answer, err := p.ask(ctx, http.MethodGet, "/v1/conversations/"+s.id, owner(s), nil)
	if err != nil {
		return 0, err
	}
	var conversation struct {
		HeadSeq uint64 `json:"headSeq"`
	}
	if err := json.Unmarshal(answer, &conversation); err != nil {
		return 0, fmt.Errorf("conversation %s: %w", s.id, err)
	}
	return conversation.HeadSeq, nil
}

// remove deletes the conversations.
func (p *Parley) remove(ctx context.Context, streams []*stream) error {
	err := parallel(ctx, createAtOnce, len(streams), func(ctx context.Context, i int) error {
		_, err := p.ask(ctx, http.MethodDelete, "/v1/conversations/"+streams[i].id, owner(streams[i]), nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("removing the conversations: %w", err)
	}
	return nil
}

// metrics are what the server says of itself.
func (p *Parley) metrics(ctx context.Context) (string, error) {
	text, err := p.ask(ctx, http.MethodGet, "/metrics", "bench", nil)
	return string(text), err
}

// restClient has a transport of its own, so that its connections can be ended.
var restClient = &http.Client{
	Timeout:   time.Minute,
	Transport: &http.Transport{MaxIdleConnsPerHost: createAtOnce, IdleConnTimeout: 10 * time.Second},
}

// ask sends one request and returns the body of an answer that is not a
// refusal.
func (p *Parley) ask(ctx context.Context, method, path, user string, body any) ([]byte, error) {
	token, err := p.token(user)
	if err != nil {
		return nil, err
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.URL+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := restClient
	if p.Roots != nil {
		client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: p.Roots, MinVersion: tls.VersionTLS12}}}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %.200s", method, path, resp.Status, answer)
	}
	return answer, nil
}
