// Package strictjson reads JSON from untrusted clients: commands, bodies of requests, and
// the parts of tokens. It accepts RFC 8259 as RFC 7493 restricts it, on top of jsontext.
//
// A [Reader] goes through one object, or one array of objects, member by member. It
// refuses names that stand twice in an object at any depth, text that is not UTF-8,
// escapes of lone surrogates, more than 64 levels, and anything behind the JSON. What
// the members mean is up to the caller, and so is a byte order mark.
//
// Errors say at which byte the text is wrong. They never quote it: it may hold a token.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// maxDepth is how deep JSON may be nested, the outermost object included.
const maxDepth = 64

// The options of decoders. UTF-8 and lone surrogates are checked here, so that a lone
// surrogate does not end the reading. To a decoder with anyUTF8 all lone surrogates are
// the same character, and so may be names that differ: see [Reader.allowDuplicates].
var (
	anyUTF8    = jsontext.AllowInvalidUTF8(true)
	duplicates = jsontext.AllowDuplicateNames(true)
)

// A Reader reads one JSON object, or an array of them. Its errors are
// [pubsub.Error]s with [pubsub.Malformed].
//
// The zero value is ready for [Reader.Reset]. A Reader keeps its memory for the next
// text. It is not safe for concurrent use.
type Reader struct {
	what, wanted string
	text         []byte
	buffer       bytes.Buffer // text, in the form that the decoder reads without a copy
	json         jsontext.Decoder
	scratch      []byte
	lone         bool // text has a lone surrogate somewhere
}

// Reset makes r read text, which must not change while r and its values are in use.
// Errors name the text by what, such as "the body", and say by wanted what it should
// be, such as "it should be one JSON object".
func (r *Reader) Reset(text []byte, what, wanted string) {
	r.what, r.wanted, r.text = what, wanted, text
	r.decode(anyUTF8)
}

func (r *Reader) decode(options ...jsontext.Options) {
	r.buffer = *bytes.NewBuffer(r.text)
	r.json.Reset(&r.buffer, options...)
}

// Size returns how much memory r keeps besides the text, in bytes.
func (r *Reader) Size() int { return cap(r.scratch) }

// IsArray reports whether the text begins like an array. Call it before
// [Reader.BeginArray] or [Reader.BeginObject].
func (r *Reader) IsArray() bool { return r.json.PeekKind() == jsontext.KindBeginArray }

// BeginArray reads the beginning of the array that [Reader.IsArray] found.
func (r *Reader) BeginArray() error {
	if err := r.checkText(); err != nil {
		return err
	}
	return r.readToken()
}

// MoreElements reports whether the array goes on. What follows may be no element:
// reading it returns the error.
func (r *Reader) MoreElements() bool { return r.json.PeekKind() != jsontext.KindEndArray }

// IsObject reports whether the next value begins like an object.
func (r *Reader) IsObject() bool { return r.json.PeekKind() == jsontext.KindBeginObject }

// BeginObject reads the beginning of the object: the whole text, or an element.
func (r *Reader) BeginObject() error {
	if r.json.StackDepth() == 0 {
		if err := r.checkText(); err != nil {
			return err
		}
	}
	token, err := r.json.ReadToken()
	switch {
	case err == io.EOF:
		return malformed("%s is empty: %s", r.what, r.wanted)
	case err != nil:
		return r.notJSON(err)
	case token.Kind() != jsontext.KindBeginObject:
		return malformed("%s is not an object: %s", r.what, r.wanted)
	}
	return nil
}

// MoreMembers reports whether the object goes on. What follows may be no member:
// [Reader.Member] returns the error.
func (r *Reader) MoreMembers() bool { return r.json.PeekKind() != jsontext.KindEndObject }

// Member reads one member: its name, valid until the next call to r, and its value,
// a part of the text. After an error that is [ErrLoneSurrogate] the next member can
// be read; after any other, nothing.
func (r *Reader) Member() (name []byte, value jsontext.Value, err error) {
	quoted, err := r.value()
	if err != nil {
		return nil, nil, err
	}
	start := int(r.json.InputOffset()) - len(quoted)
	if value, err = r.value(); err != nil {
		return nil, nil, err
	}
	if r.lone {
		if at := loneSurrogate(r.text[start:r.json.InputOffset()]); at >= 0 {
			return nil, nil, r.loneSurrogateAt(start + at)
		}
	}
	name, err = r.Text(quoted, "a member's name")
	return name, value, err
}

// Skip reads the next value and ignores it.
func (r *Reader) Skip() error {
	_, err := r.value()
	return err
}

// EndObject reads the end of an object that is an element.
func (r *Reader) EndObject() error { return r.readToken() }

// End reads the end of the object or array that is the text, and checks that nothing
// follows.
func (r *Reader) End() error {
	if err := r.readToken(); err != nil {
		return err
	}
	if _, err := r.json.ReadToken(); err != io.EOF {
		return malformed("unexpected data after the JSON, at byte %d", r.json.InputOffset())
	}
	return nil
}

// Text returns the string that value is, without quotes and escapes, valid until the
// next call to r. It is an error if value is no string: it names value by what.
func (r *Reader) Text(value jsontext.Value, what string) ([]byte, error) {
	if value.Kind() != jsontext.KindString {
		return nil, malformed("%s must be a string", what)
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], nil
	}
	var err error
	if r.scratch, err = jsontext.AppendUnquote(r.scratch[:0], value); err != nil {
		return nil, r.notJSON(err)
	}
	return r.scratch, nil
}

// Compact returns value without white space and with no more escapes than JSON needs,
// valid until the next call to r.
func (r *Reader) Compact(value jsontext.Value) ([]byte, error) {
	var err error
	if r.scratch, err = jsontext.AppendFormat(r.scratch[:0], value); err != nil {
		return nil, r.notJSON(err)
	}
	return r.scratch, nil
}

// Elements returns the elements of an array that was read or found valid before. They
// are parts of it.
func Elements(array jsontext.Value) iter.Seq[jsontext.Value] {
	return func(yield func(jsontext.Value) bool) {
		decoder := jsontext.NewDecoder(bytes.NewBuffer(array), anyUTF8, duplicates)
		_, _ = decoder.ReadToken() // Nothing fails: array is valid.
		for decoder.PeekKind() != jsontext.KindEndArray {
			value, err := readValue(decoder, array)
			if err != nil || !yield(value) {
				return
			}
		}
	}
}

// Members returns the members of an object that was read or found valid before, with
// values that are parts of it. If the object was not read by a [Reader], names may
// come twice.
func Members(object jsontext.Value) iter.Seq2[string, jsontext.Value] {
	return func(yield func(string, jsontext.Value) bool) {
		decoder := jsontext.NewDecoder(bytes.NewBuffer(object), anyUTF8, duplicates)
		_, _ = decoder.ReadToken() // Nothing fails: object is valid.
		for decoder.PeekKind() == jsontext.KindString {
			token, _ := decoder.ReadToken()
			name := token.String()
			value, err := readValue(decoder, object)
			if err != nil || !yield(name, value) {
				return
			}
		}
	}
}

// readToken reads a bracket that was peeked at, or returns why it is none.
func (r *Reader) readToken() error {
	if _, err := r.json.ReadToken(); err != nil {
		return r.notJSON(err)
	}
	return nil
}

// value reads the next value. It checks the depth first: parsing would take memory
// for each level.
func (r *Reader) value() (jsontext.Value, error) {
	switch r.json.PeekKind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		if r.json.StackDepth()+depth(r.text[r.json.InputOffset():]) > maxDepth {
			return nil, malformed("the JSON is nested too deep; the limit is %d levels", maxDepth)
		}
	}
	value, err := readValue(&r.json, r.text)
	if err != nil {
		return nil, r.notJSON(err)
	}
	return value, nil
}

// readValue reads the next value of text. The decoder's own value would be valid
// until the next one only.
func readValue(decoder *jsontext.Decoder, text []byte) (jsontext.Value, error) {
	value, err := decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	end := decoder.InputOffset()
	return text[end-int64(len(value)) : end], nil
}

// depth returns how deep the object or array is nested that begins text. If text is
// not JSON, it returns some number, and the parser refuses the text.
func depth(text []byte) (deepest int) {
	open := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			open++
			deepest = max(deepest, open)
		case '}', ']':
			if open--; open <= 0 {
				return deepest
			}
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return deepest
}

// checkText checks the whole text, once, for what the decoder does not check.
func (r *Reader) checkText() error {
	if !utf8.Valid(r.text) {
		at := 0
		for c, size := utf8.DecodeRune(r.text); c != utf8.RuneError || size > 1; c, size = utf8.DecodeRune(r.text[at:]) {
			at += size
		}
		return r.notJSONAt(int64(at))
	}
	if r.lone = loneSurrogate(r.text) >= 0; r.lone {
		return r.allowDuplicates()
	}
	return nil
}

// allowDuplicates makes the decoder accept names that stand twice, as names with
// different lone surrogates look the same to it. The object with the lone surrogate
// is refused for that, later. In the other elements of an array, allowDuplicates looks
// for duplicate names itself.
func (r *Reader) allowDuplicates() error {
	r.decode(anyUTF8, duplicates)
	if !r.IsArray() {
		return nil
	}
	if err := r.readToken(); err != nil {
		return err
	}
	for r.MoreElements() {
		element, err := r.value()
		if err != nil {
			return err
		}
		if loneSurrogate(element) >= 0 {
			continue
		}
		_, err = jsontext.NewDecoder(bytes.NewBuffer(element)).ReadValue()
		if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			return duplicateAt(r.json.InputOffset() - int64(len(element)) + e.ByteOffset)
		}
	}
	r.decode(anyUTF8, duplicates)
	return nil
}

// notJSON says where the text stops being JSON. The parser's own words quote it.
func (r *Reader) notJSON(err error) error {
	at := r.json.InputOffset()
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = e.ByteOffset
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return malformed("%s ends before its JSON is complete", r.what)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return duplicateAt(at)
	}
	return r.notJSONAt(at)
}

func (r *Reader) notJSONAt(at int64) error {
	return malformed("%s is not valid JSON in UTF-8, at byte %d", r.what, at)
}

func duplicateAt(at int64) error {
	return malformed("an object has the same member twice, at byte %d", at)
}

func malformed(format string, args ...any) *pubsub.Error {
	return pubsub.Errorf(pubsub.Malformed, format, args...)
}

func (r *Reader) loneSurrogateAt(at int) error {
	return &pubsub.Error{
		Code:   pubsub.Malformed,
		Detail: fmt.Sprintf("%s has a lone surrogate, half of a character such as an emoji, at byte %d: cut strings between characters", r.what, at),
		Err:    ErrLoneSurrogate,
	}
}
