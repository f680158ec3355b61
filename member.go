package notiflux

// A Member is who is present in a topic: one subject, however many connections it has.
type Member struct {
	Sub  string // of the token
	Info []byte // what the token shows of it: a compact JSON object that nobody changes; nil: nothing
}
