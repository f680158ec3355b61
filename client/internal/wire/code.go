package wire

// Codes of docs/protocol.md that the client treats in a special way.
const (
	Malformed       = "malformed"
	OutcomeUnknown  = "outcome_unknown"
	TooMany         = "too_many"
	TooSlow         = "too_slow"
	TokenRevoked    = "token_revoked"
	UpgradeRequired = "upgrade_required"
)

// Passing reports whether a request that was refused with a code may succeed a little later.
func Passing(code string) bool {
	switch code {
	case "over_capacity", "unavailable", "draining", "internal", OutcomeUnknown:
		return true
	}
	return false
}

// Renewable reports whether a new token may help after a refusal with a code.
func Renewable(code string) bool {
	return code == "token_invalid" || code == "token_expired" || code == TokenRevoked
}

// Extensible reports whether a token for more topics or scopes may help after a refusal with
// a code.
func Extensible(code string) bool { return code == "topic_denied" || code == "scope_denied" }
