package rest

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
)

// IsTLSRefusal reports whether err ended a TLS handshake that would fail again: this side
// does not trust the certificate, the other side does not speak TLS, or it does not accept
// the certificate or the TLS version of this side.
func IsTLSRefusal(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	// crypto/tls does not export the type of alerts that it received, only their texts.
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error" && slices.ContainsFunc(lastingAlerts, func(a tls.AlertError) bool {
		return alert.Err.Error() == a.Error()
	})
}

// lastingAlerts are the alerts about a certificate or a version (RFC 8446 section 6.2).
// A proxy may send other alerts while it reloads its configuration.
var lastingAlerts = []tls.AlertError{
	42,  // bad_certificate
	43,  // unsupported_certificate
	44,  // certificate_revoked
	45,  // certificate_expired
	46,  // certificate_unknown
	48,  // unknown_ca
	70,  // protocol_version
	116, // certificate_required
}
