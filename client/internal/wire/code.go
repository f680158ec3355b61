package wire

// Codes of docs/protocol.md that the client reacts to.
const (
	Malformed       = "malformed"
	OutcomeUnknown  = "outcome_unknown"
	TooMany         = "too_many"
	TooSlow         = "too_slow"
	UpgradeRequired = "upgrade_required"
)

// Passing reports whether what is refused with a code may succeed a little later.
func Passing(code string) bool {
	switch code {
	case "over_capacity", "unavailable", "draining", "internal", OutcomeUnknown:
		return true
	}
	return false
}

// Renewable reports whether a new token may help against a refusal.
func Renewable(code string) bool {
	return code == "token_invalid" || code == "token_expired" || code == "token_revoked"
}

// Extensible reports whether a token for more may help against a refusal.
func Extensible(code string) bool { return code == "topic_denied" || code == "scope_denied" }
