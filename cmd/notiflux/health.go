package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/server"
)

type healthCmd struct {
	URL     string `name:"url" env:"NOTIFLUX_URL" placeholder:"URL" help:"Base address of the server. By default it is made from the settings below."`
	Host    string `env:"HOST" default:"127.0.0.1" help:"Address that the server listens on."`
	Port    int    `env:"PORT" default:"8080" help:"Port that the server listens on."`
	TLSCert string `name:"tls-cert" env:"NOTIFLUX_TLS_CERT" placeholder:"FILE" help:"If set, the check uses https; it does not read the file."`
	Trust   trust  `embed:""`

	ProxyProtocol  bool     `env:"NOTIFLUX_PROXY_PROTOCOL" help:"The server expects the PROXY protocol from --trusted-proxies."`
	TrustedProxies []string `env:"NOTIFLUX_TRUSTED_PROXIES" placeholder:"ADDRESS" help:"If this machine is one of them, the check sends a header of the PROXY protocol."`
}

// Help is shown by -h below the first line.
func (*healthCmd) Help() string {
	return "Meant for containers. Without flags, it finds the server through the environment variables with which notiflux serve was started. The exit status is 0 if the server is alive, otherwise 1."
}

// healthTimeout is shorter than the time that container engines wait for a check (30 s).
const healthTimeout = 5 * time.Second

// Run checks whether the server is alive.
func (c *healthCmd) Run(*terminal) error {
	client, err := c.Trust.http()
	if err != nil {
		return err
	}
	client.Timeout = healthTimeout
	if c.URL == "" {
		c.URL = c.neighbour()
		transport := client.Transport.(*http.Transport)
		transport.Proxy = nil
		transport.TLSClientConfig = anyName(transport.TLSClientConfig)
		if c.ProxyProtocol {
			transport.DialContext = c.dialAsProxy
		}
	}
	base, err := parseBase(c.URL)
	if err != nil {
		return err
	}
	response, err := client.Get(base.JoinPath("health").String())
	if err != nil {
		return unreachable("url", base, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return unreachable("url", base, refusal(response))
	}
	return nil
}

// anyName returns a configuration that accepts certificates for any name, because the name
// in a server's certificate is not the address at which its own machine reaches it. If c
// has no authorities, it accepts any certificate: the check sends nothing secret, and only
// learns that there is an answer.
func anyName(c *tls.Config) *tls.Config {
	if c == nil {
		return &tls.Config{InsecureSkipVerify: true}
	}
	c = c.Clone()
	c.InsecureSkipVerify = true // VerifyConnection checks everything but the name.
	c.VerifyConnection = func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool()}
		for _, intermediate := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(intermediate)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
	return c
}

// dialAsProxy connects to the server. If the server takes this machine for a proxy, the connection
// begins with a header that says that it is the proxy's own.
func (c *healthCmd) dialAsProxy(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil || !server.TrustsProxy(c.TrustedProxies, conn.LocalAddr()) {
		return conn, err
	}
	if _, err := io.WriteString(conn, "PROXY UNKNOWN\r\n"); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// neighbour returns the address at which this machine reaches a server with the same
// settings.
func (c *healthCmd) neighbour() string {
	host, scheme := ownAddress(config.BareHost(c.Host)), "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	u := url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(c.Port))}
	return u.String()
}

// ownAddress returns the address at which this machine reaches a server that listens on host.
func ownAddress(host string) string {
	switch host { // all addresses of this machine
	case "", "0.0.0.0":
		return "127.0.0.1"
	case "::":
		return "::1"
	}
	return host
}
