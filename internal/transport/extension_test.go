package transport_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/transport"
)

const agreedDeflate = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// offers are values of Sec-WebSocket-Extensions, and the answers.
var offers = map[string]string{
	"permessage-deflate":                                                                            agreedDeflate,
	"permessage-deflate; client_max_window_bits":                                                    agreedDeflate,
	"permessage-deflate; client_max_window_bits=8":                                                  agreedDeflate,
	"permessage-deflate; client_max_window_bits=15":                                                 agreedDeflate,
	`permessage-deflate; client_max_window_bits="9"`:                                                agreedDeflate,
	"permessage-deflate; server_no_context_takeover; client_no_context_takeover":                    agreedDeflate,
	"permessage-deflate ;\tserver_no_context_takeover\t; client_max_window_bits = 10":               agreedDeflate,
	"permessage-deflate; server_max_window_bits=15":                                                 agreedDeflate + "; server_max_window_bits=15",
	`permessage-deflate; server_max_window_bits="15"; client_max_window_bits`:                       agreedDeflate + "; server_max_window_bits=15",
	"permessage-deflate; server_max_window_bits=12, permessage-deflate":                             agreedDeflate,
	"permessage-deflate; server_max_window_bits=12\r\nSec-WebSocket-Extensions: permessage-deflate": agreedDeflate,
	"x-webkit-deflate-frame, permessage-deflate":                                                    agreedDeflate,
	`foo; bar="baz\-1"; qux, , permessage-deflate,`:                                                 agreedDeflate,
	"permessage-deflate=1\r\nSec-WebSocket-Extensions: permessage-deflate":                          agreedDeflate,

	"":                           "",
	",":                          "",
	"x-webkit-deflate-frame":     "",
	"Permessage-Deflate":         "",
	"permessage-bzip2":           "",
	"permessage-deflate; foo":    "",
	"permessage-deflate; bits=1": "",
	"permessage-deflate; server_max_window_bits":                                 "",
	"permessage-deflate; server_max_window_bits=8":                               "",
	"permessage-deflate; server_max_window_bits=14":                              "",
	"permessage-deflate; server_max_window_bits=16":                              "",
	"permessage-deflate; server_max_window_bits=015":                             "",
	"permessage-deflate; client_max_window_bits=7":                               "",
	"permessage-deflate; client_max_window_bits=16":                              "",
	"permessage-deflate; client_max_window_bits=010":                             "",
	"permessage-deflate; client_max_window_bits=+9":                              "",
	"permessage-deflate; client_max_window_bits=9; client_max_window_bits=9":     "",
	"permessage-deflate; server_no_context_takeover=1":                           "",
	"permessage-deflate; client_no_context_takeover=":                            "",
	"permessage-deflate; client_no_context_takeover; client_no_context_takeover": "",

	"permessage-deflate;":                                  "",
	"permessage-deflate; =1":                               "",
	"permessage-deflate; ; client_max_window_bits":         "",
	"permessage-deflate client_max_window_bits":            "",
	"permessage-deflate=1":                                 "",
	"permessage-deflate; client_max_window_bits=":          "",
	`permessage-deflate; client_max_window_bits=""`:        "",
	`permessage-deflate; client_max_window_bits="9`:        "",
	`permessage-deflate; client_max_window_bits="9\`:       "",
	`permessage-deflate; client_max_window_bits="9 "`:      "",
	`permessage-deflate, "`:                                "",
	"permessage-deflate; client_max_window_bits=9=9":       "",
	"permessage-deflate; é":                                "",
	"permessage-deflate; server_max_window_bits=15 ; a b=": "",
}

func TestCompressionIsAgreedOn(t *testing.T) {
	address, conns := serve(t, &transport.Upgrader{Compression: true})
	for offer, want := range offers {
		answer, _, _ := exchange(t, address, request("Sec-WebSocket-Extensions: "+offer))
		equal(t, offer+": status", answer.StatusCode, http.StatusSwitchingProtocols)
		equal(t, offer+": answer", strings.Join(answer.Header["Sec-Websocket-Extensions"], "|"), want)
		got := <-conns
		equal(t, offer+": Deflate", got.Deflate, want != "")
		got.Conn.Close()
	}
}

func TestCompressionIsOffByDefault(t *testing.T) {
	address, conns := serve(t, new(transport.Upgrader))
	answer, _, _ := exchange(t, address, request("Sec-WebSocket-Extensions: permessage-deflate"))
	equal(t, "answer", answer.Header.Get("Sec-WebSocket-Extensions"), "")
	got := <-conns
	equal(t, "Deflate", got.Deflate, false)
	got.Conn.Close()
}
