package session

import "github.com/ikornaselur/notiflux/internal/wire"

// Deflating returns an encoder of the compressed frames of a plain one.
func Deflating(plain Encoder) Encoder { return &deflating{0, plain, new(wire.Deflater)} }
