package rawclient

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Lengths of bodies whose length is not announced.
const (
	UntilEnd = -1 // the body ends with the connection
	InChunks = -2
)

// A StatusError is a response with an unexpected status.
type StatusError struct {
	Line string // the first line of the answer
	Body string // empty unless its length was announced
}

func (e *StatusError) Error() string { return fmt.Sprintf("answered %q: %s", e.Line, e.Body) }

// Get sends a GET request in HTTP/1.minor. An empty token sends none. more is further
// header lines, each with its CRLF.
func (c *Conn) Get(target string, minor int, token, more string) error {
	if token != "" {
		more += "Authorization: Bearer " + token + "\r\n"
	}
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.%d\r\nHost: x\r\n%s\r\n", target, minor, more)
	return err
}

// Head reads the head of an answer, and returns the length of the body: at least 0,
// [UntilEnd] or [InChunks]. An answer with another status is a [*StatusError].
func (c *Conn) Head(status int) (length int, err error) {
	first, err := c.R.ReadString('\n')
	length = UntilEnd
	for line := first; err == nil && line != "\r\n"; {
		if line, err = c.R.ReadString('\n'); err != nil {
			break
		}
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); {
		case strings.EqualFold(name, "Content-Length"):
			length, err = strconv.Atoi(value)
		case strings.EqualFold(name, "Transfer-Encoding") && value == "chunked":
			length = InChunks
		}
	}
	if err == nil && !strings.HasPrefix(first, fmt.Sprintf("HTTP/1.1 %d ", status)) {
		body, _ := io.ReadAll(io.LimitReader(c.R, int64(max(length, 0))))
		err = &StatusError{first, string(body)}
	}
	return length, ended(err)
}

// Body reads a body of a known length.
func (c *Conn) Body(length int) ([]byte, error) {
	body := make([]byte, max(length, 0))
	_, err := io.ReadFull(c.R, body)
	return body, ended(err)
}

// UpTo reads up to and with end.
func (c *Conn) UpTo(end string) (string, error) {
	var got []byte
	for !bytes.HasSuffix(got, []byte(end)) {
		line, err := c.R.ReadBytes('\n')
		if err != nil {
			return "", ended(err)
		}
		got = append(got, line...)
	}
	return string(got), nil
}

// Chunk reads a chunk and returns its data, which is empty at the end of a body.
func (c *Conn) Chunk() (string, error) {
	head, err := c.R.ReadString('\n')
	if err != nil {
		return "", ended(err)
	}
	size, err := strconv.ParseUint(strings.TrimSuffix(head, "\r\n"), 16, 32)
	if err != nil {
		return "", fmt.Errorf("a chunk that begins with %q", head)
	}
	data := make([]byte, size+2)
	if _, err := io.ReadFull(c.R, data); err != nil {
		return "", ended(err)
	}
	if string(data[size:]) != "\r\n" {
		return "", fmt.Errorf("a chunk that ends with %q", data[size:])
	}
	return string(data[:size]), nil
}

// Frames requests a stream and returns a function that reads its next event or line, each of
// which ends with end. Over HTTP/1.1 each must be one chunk.
func (c *Conn) Frames(target string, minor int, token, more, end string) (next func() (string, error), err error) {
	if err := c.Get(target, minor, token, more); err != nil {
		return nil, err
	}
	length, err := c.Head(200)
	if err != nil {
		return nil, err
	}
	if want := map[int]int{0: UntilEnd, 1: InChunks}[minor]; length != want {
		return nil, fmt.Errorf("the body of an answer to HTTP/1.%d has the length %d, want %d", minor, length, want)
	}
	if minor == 0 {
		return func() (string, error) { return c.UpTo(end) }, nil
	}
	return func() (string, error) {
		chunk, err := c.Chunk()
		if err == nil && strings.Index(chunk, end) != len(chunk)-len(end) {
			err = fmt.Errorf("the chunk %q does not hold one event or line", chunk)
		}
		return chunk, err
	}, nil
}

// Fields returns the fields of an event of text/event-stream.
func Fields(event string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(event) {
		if name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":"); name != "" {
			fields[name] = strings.TrimPrefix(value, " ")
		}
	}
	return fields
}
