package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
)

// adminFlags are the flags of the commands that use the admin API.
type adminFlags struct {
	Addr      string `name:"admin-addr" env:"NOTIFLUX_ADMIN_ADDR" default:"127.0.0.1:8081" help:"Address of the server's admin listener: address:port, unix:/path, or the URL of a proxy in front of it."`
	TokenFile string `name:"admin-token-file" env:"NOTIFLUX_ADMIN_TOKEN_FILE" placeholder:"FILE" help:"File with the secret of the server's --admin-token-file."`
	Trust     trust  `embed:""`
}

// adminTimeout is more than a server needs to end the subscriptions of all its clients.
const adminTimeout = time.Minute

// post sends a request to the admin API and decodes the answer into out.
func (f *adminFlags) post(route string, in, out any) error {
	base, client, err := f.client()
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, base.JoinPath("api", "v1", route).String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if f.TokenFile != "" {
		token, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return usagef("%s: %w", config.Name("admin-token-file"), config.FileError(f.TokenFile, err))
		}
		secret := strings.TrimSpace(string(token))
		if secret == "" || strings.ContainsAny(secret, " \t\r\n") {
			return usagef("%s: %s does not hold one secret without white space: use the file of the server", config.Name("admin-token-file"), f.TokenFile)
		}
		request.Header.Set("Authorization", "Bearer "+secret)
	}
	response, err := client.Do(request)
	if err != nil {
		return unreachable("admin-addr", base, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound: // for example the public port
		return fmt.Errorf("%s: %s: %w", config.Name("admin-addr"), base, refusal(response))
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: %w", config.Name("admin-token-file"), refusal(response))
	default:
		return refusal(response)
	}
	data, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// client returns the address of the API and a client for it.
func (f *adminFlags) client() (*url.URL, *http.Client, error) {
	client, err := f.Trust.http()
	if err != nil {
		return nil, nil, err
	}
	client.Timeout = adminTimeout
	if strings.HasPrefix(f.Addr, "http://") || strings.HasPrefix(f.Addr, "https://") {
		base, err := parseBase(f.Addr)
		return base, client, err
	}
	transport := client.Transport.(*http.Transport)
	transport.Proxy = nil
	if path, ok := strings.CutPrefix(f.Addr, config.UnixPrefix); ok && path != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		return &url.URL{Scheme: "http", Host: "localhost"}, client, nil
	}
	host, port, err := net.SplitHostPort(f.Addr)
	if err != nil || port == "" {
		return nil, nil, usagef("%s is %q: use address:port, such as %s, or unix:/path", config.Name("admin-addr"), f.Addr, config.DefaultAdminAddr)
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(ownAddress(host), port)}, client, nil
}
