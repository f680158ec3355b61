package session

import (
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Deflating returns an encoder of the compressed frames of a plain one.
func Deflating(plain Encoder) Encoder {
	return &topic.Derived{From: topic.Format{Encoder: plain}, Change: new(wire.Deflater).Deflate}
}
