package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Creator makes conversations that are not there.
type Creator struct {
	url     string // of Parley's HTTP port
	members []string
	client  *http.Client
}

// NewCreator makes one that names these members, beside who makes it.
func NewCreator(at string, members []string, files TLSFiles) (*Creator, error) {
	conf, err := files.config(&url.URL{Scheme: schemeTLS})
	if err != nil {
		return nil, err
	}
	conf.ServerName = "" // that of the URL
	return &Creator{url: strings.TrimSuffix(at, "/"), members: members,
		client: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf}}}, nil
}

const createTimeout = 10 * time.Second

// errNotMade is of a conversation that cannot be made, however often it is
// tried.
var errNotMade = errors.New("cannot be made")

// conversation makes one with the configured members. One that is there is
// left as it is, whoever owns it: whether we may write is said when we do.
func (c *Creator) conversation(ctx context.Context, tokens Tokens, id string) error {
	token, err := tokens.Current()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	members := c.members
	if members == nil {
		members = []string{}
	}
	text, err := json.Marshal(map[string]any{"id": id, "members": members})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/v1/conversations", bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token.Text)
	request.Header.Set("Content-Type", "application/json")
	answer, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	switch answer.StatusCode {
	case http.StatusCreated, http.StatusOK, http.StatusConflict:
		return err
	}
	var problem struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	_ = json.Unmarshal(said, &problem) // the status says enough
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %s %s", errNotMade, problem.Code, problem.Detail)
	}
	return fmt.Errorf("%s: %s %s", answer.Status, problem.Code, problem.Detail)
}
