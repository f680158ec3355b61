package keyfile

import (
	"bytes"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// This file recognizes how people and tools damage keys by mistake, so that the error can
// say what happened and how to undo it.

var (
	byteOrderMark = []byte("\xef\xbb\xbf")
	utf16Marks    = [][]byte{{0xff, 0xfe}, {0xfe, 0xff}}
)

// mistake returns an error if data, which should contain keys, is not UTF-8 text, is an SSH
// key, or was mangled.
func mistake(data []byte) error {
	text := bytes.TrimSpace(data)
	switch {
	case bytes.HasPrefix(data, byteOrderMark):
		return errors.New("this starts with a byte order mark: save it as UTF-8 without one (in PowerShell, Out-File -Encoding ascii)")
	case bytes.HasPrefix(data, utf16Marks[0]), bytes.HasPrefix(data, utf16Marks[1]), bytes.HasPrefix(data, []byte("-\x00-\x00")), bytes.HasPrefix(data, []byte("\x00-\x00-")):
		return errors.New("this is UTF-16: save it as UTF-8 (in PowerShell, Out-File -Encoding ascii instead of >)")
	case bytes.HasPrefix(data, []byte{0x30}) && bytes.ContainsFunc(data, func(r rune) bool { return r < '\t' || r == '\ufffd' }):
		return errors.New("this is DER: use PEM, as `openssl pkey -inform DER` writes it, with -pubin for a public key")
	case bytes.HasPrefix(text, []byte("ssh-")), bytes.HasPrefix(text, []byte("ecdsa-sha2-")):
		return errors.New("this is an SSH key: use PEM, as `ssh-keygen -e -m PKCS8 -f id.pub` writes it")
	}
	return mangled(string(text))
}

// mangled returns an error if text is PEM or a JWK that was quoted, escaped or indented.
func mangled(text string) error {
	var wrong []string
	before, _, isPEM := strings.Cut(text, pemBegin)
	if isPEM && strings.HasSuffix(before, `"`) || isPEM && strings.HasSuffix(before, "'") || isQuoted(text) {
		wrong = append(wrong, "it is inside quotes: leave them out")
	}
	if isPEM && strings.Contains(text, `-----\n`) || isPEM && strings.Contains(text, `-----\r\n`) {
		wrong = append(wrong, "its line breaks are written as the two characters \\n: put real line breaks there, as `printf '%b' \"$KEY\"` does")
	}
	line := before[strings.LastIndexByte(before, '\n')+1:]
	if isPEM && line != "" && strings.TrimSpace(line) == "" {
		wrong = append(wrong, "its lines are indented: begin each at its first column")
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New("the key cannot be read: " + strings.Join(wrong, "; "))
}

// isQuoted reports whether text begins and ends with the same quote.
func isQuoted(text string) bool {
	return len(text) > 1 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0]
}

// The object identifiers of keys on elliptic curves (RFC 5480 section 2.1).
var (
	oidPublicKeyEC = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidP256        = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
)

// publicKeyMistake returns why the standard library cannot parse der, which should be a
// SubjectPublicKeyInfo. The key itself may be valid, only in an unsupported encoding.
func publicKeyMistake(der []byte) error {
	var info struct {
		Algorithm struct {
			ID         asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		Key asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil || !info.Algorithm.ID.Equal(oidPublicKeyEC) {
		return fmt.Errorf("parse public key: this PEM block holds no readable public key; %s", rightKey)
	}
	const again = "write it again with `openssl ec -pubin -in key.pem -pubout -conv_form uncompressed -param_enc named_curve`"
	var curve asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &curve); err != nil {
		return errors.New("the key has explicit curve parameters instead of a named curve: " + again)
	}
	point := info.Key.Bytes
	if len(point) > 0 && (point[0] == 2 || point[0] == 3) && curve.Equal(oidP256) && len(point) == 1+elliptic.P256().Params().BitSize/8 {
		return errors.New("the key is written with a compressed point: " + again)
	}
	return fmt.Errorf("parse public key: this is not a point on a supported curve; %s", rightKey)
}

// errPrivateCurve refuses a private key on a curve that the standard library does not know,
// or that is not named.
var errPrivateCurve = errors.New("the key is on an unsupported curve, or has explicit curve parameters instead of a named curve: if it is a P-256 key, rewrite it with `openssl ec -in key.pem -param_enc named_curve`")
