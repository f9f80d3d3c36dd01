package main

import (
	"crypto/mldsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/transparency-dev/formats/log"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	sigsum "sigsum.org/sigsum-go/pkg/checkpoint"
)

const (
	ed25519Type     = 1
	cosignatureType = 4
	mldsaType       = 6
	timeBytes       = 8
)

// What was signed, and the names of the keys that did; a key that is not known signs nothing.
type opened struct {
	Origin string
	Size   uint64
	Root   tlog.Hash
	Signed []string
	Others int
}

// open reads a checkpoint that the first key signed for, as transparency-dev/formats does with Go's own notes.
func open(text string, keys []string) (*opened, error) {
	verifiers := make([]note.Verifier, 0, len(keys))
	for _, key := range keys {
		verifier, err := newVerifier(key)
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, verifier)
	}
	if len(verifiers) == 0 {
		return nil, errors.New("no key was given")
	}
	head, rest, signed, err := log.ParseCheckpoint([]byte(text), verifiers[0].Name(), verifiers[0], verifiers[1:]...)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 || len(head.Hash) != tlog.HashSize {
		return nil, errors.New("the checkpoint has more than three lines, or a root of another length")
	}
	found := &opened{Origin: head.Origin, Size: head.Size, Root: tlog.Hash(head.Hash), Others: len(signed.UnverifiedSigs)}
	for _, one := range signed.Sigs {
		found.Signed = append(found.Signed, one.Name)
	}
	return found, nil
}

func newVerifier(key string) (note.Verifier, error) {
	name, rest, _ := strings.Cut(key, "+")
	id, encoded, _ := strings.Cut(rest, "+")
	said, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(said) == 0 {
		return nil, fmt.Errorf("%.60s is no key", key)
	}
	switch said[0] {
	case ed25519Type:
		return note.NewVerifier(key)
	case cosignatureType:
		var known sigsum.NoteVerifier
		if err := known.FromString(key); err != nil {
			return nil, err
		}
		if sigsum.NewNoteVerifier(name, known.Type, &known.PublicKey).KeyId != known.KeyId {
			return nil, fmt.Errorf("the id of %s is not that of its key", name)
		}
		said[0] = ed25519Type // formats takes the key under this type, and makes the id of the other
		return formats.NewVerifierForCosignatureV1(name + "+" + id + "+" + base64.StdEncoding.EncodeToString(said))
	case mldsaType:
		public, err := mldsa.NewPublicKey(mldsa.MLDSA44(), said[1:])
		return &mldsaVerifier{name, keyID(name, said), public}, err
	}
	return nil, fmt.Errorf("keys of type %d are not known", said[0])
}

// ML-DSA-44 by Go's standard library; what is signed is as C2SP tlog-cosignature has it.
type mldsaVerifier struct {
	name string
	id   uint32
	key  *mldsa.PublicKey
}

func (v *mldsaVerifier) Name() string    { return v.name }
func (v *mldsaVerifier) KeyHash() uint32 { return v.id }

func (v *mldsaVerifier) Verify(text, signature []byte) bool {
	if len(signature) < timeBytes {
		return false
	}
	message, err := treeMessage(v.name, binary.BigEndian.Uint64(signature), text)
	return err == nil && mldsa.Verify(v.key, message, signature[timeBytes:], nil) == nil
}

func treeMessage(name string, time uint64, text []byte) ([]byte, error) {
	var head log.Checkpoint
	if _, err := head.Unmarshal(text); err != nil {
		return nil, err
	}
	message := append([]byte("subtree/v1\n\x00"), byte(len(name)))
	message = binary.BigEndian.AppendUint64(append(message, name...), time)
	message = append(append(message, byte(len(head.Origin))), head.Origin...)
	message = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(message, 0), head.Size)
	return append(message, head.Hash...), nil
}

func keyID(name string, key []byte) uint32 {
	sum := sha256Of([]byte(name), []byte("\n"), key)
	return binary.BigEndian.Uint32(sum[:])
}
