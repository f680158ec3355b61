package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
)

// An Address is where an identity provider publishes its keys.
type Address struct {
	url  string // empty: a file
	file string
}

// ParseAddress parses an https URL, an http URL of this machine, or file: and a path.
func ParseAddress(text string) (Address, error) {
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return Address{}, errors.New("has no path: use file: followed by the path of a JWK Set")
		}
		return Address{file: path}, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return Address{}, errors.New("is not a URL for keys: use https://…, or file: followed by a path")
	case u.User != nil:
		return Address{}, errors.New("contains a password or a user name: the keys of an identity provider are public, so leave it out")
	case u.Scheme == "http" && !config.IsLoopback(u.Hostname()):
		return Address{}, errors.New("begins with http, so anyone on the way could replace the keys: use https (http is only for this machine)")
	}
	return Address{url: text}, nil
}

// errTime has the same text wherever the time runs out.
var errTime = fmt.Errorf("there was no complete answer within %v", fetchTimeout)

// read returns the JWK Set, and for how long it is fresh. Errors do not contain the address,
// because a query may contain something secret.
func (s *Source) read(ctx context.Context) (data []byte, age time.Duration, err error) {
	data, age, err = s.fetch(ctx)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		err = errTime
	}
	return data, age, err
}

func (s *Source) fetch(ctx context.Context) (data []byte, age time.Duration, err error) {
	if s.address.file != "" {
		data, err = config.ReadRegular(s.address.file, maxBytes)
		return data, fileEvery, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address.url, nil)
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	r.Header.Set("User-Agent", "notiflux")
	answer, err := s.client.Do(r)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode/100 == 3:
		return nil, 0, fmt.Errorf("the answer is a redirect (%d), which is not followed: use the address that it leads to", answer.StatusCode)
	case answer.StatusCode != http.StatusOK:
		return nil, 0, fmt.Errorf("the answer has the status %d; it must be 200, with a JWK Set", answer.StatusCode)
	}
	data, err = readLimited(answer.Body)
	return data, freshness(answer.Header), err
}

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxBytes:
		return nil, fmt.Errorf("the JWK Set has more than %d bytes, which is the limit", maxBytes)
	}
	return data, nil
}

// freshness returns the max-age of an answer (RFC 9111, section 5.2.2.1), within bounds.
func freshness(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 32)
		if err != nil {
			return minAge
		}
		return min(max(time.Duration(seconds)*time.Second, minAge), maxAge)
	}
	return defaultAge
}
