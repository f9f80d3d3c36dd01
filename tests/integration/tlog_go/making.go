package main

import (
	"crypto/mldsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/transparency-dev/formats/log"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A log that was made here: its key and those of two witnesses, and for each size its checkpoint, and for each index the
// proof that its entry is under the last one.
type made struct {
	Keys        []string
	Checkpoints []string
	Proofs      []string
	Growth      [][]tlog.Hash
}

// makeLog writes a log of so many entries as the last of the sizes says, as files of tlog-tiles.
func makeLog(q *question) (*made, error) {
	signers, keys, err := newSigners(q.Name)
	if err != nil {
		return nil, err
	}
	size := q.Sizes[len(q.Sizes)-1]
	found, stored := &made{Keys: keys}, []tlog.Hash(nil)
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for at, index := range indexes {
			hashes[at] = stored[index]
		}
		return hashes, nil
	})
	for index := range size {
		more, err := tlog.StoredHashes(index, entryOf(index), reader)
		if err != nil {
			return nil, err
		}
		stored = append(stored, more...)
	}
	for _, old := range q.Sizes {
		checkpoint, err := signedHead(q.Name, old, reader, signers)
		if err != nil {
			return nil, err
		}
		growth, err := tlog.ProveTree(size, old, reader)
		if err != nil {
			return nil, err
		}
		found.Checkpoints, found.Growth = append(found.Checkpoints, checkpoint), append(found.Growth, growth)
	}
	last := found.Checkpoints[len(found.Checkpoints)-1]
	for _, index := range q.Indexes {
		proof, err := tlog.ProveRecord(size, index, reader)
		if err != nil {
			return nil, err
		}
		lines := []string{heading, fmt.Sprintf("index %d", index)}
		for _, hash := range proof {
			lines = append(lines, hash.String())
		}
		found.Proofs = append(found.Proofs, strings.Join(lines, "\n")+"\n\n"+last)
	}
	return found, writeTiles(q.Directory, size, reader, last)
}

func entryOf(index int64) []byte { return fmt.Appendf(nil, "entry %d", index) }

func newSigners(name string) ([]note.Signer, []string, error) {
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, nil, err
	}
	own, err := note.NewSigner(private)
	if err != nil {
		return nil, nil, err
	}
	private, other, err := note.GenerateKey(rand.Reader, "witness.example/go")
	if err != nil {
		return nil, nil, err
	}
	witness, err := formats.NewSignerForCosignatureV1(private)
	if err != nil {
		return nil, nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.SplitN(other, "+", 3)[2])
	if err != nil {
		return nil, nil, err
	}
	key[0] = cosignatureType
	late, err := newMLDSASigner("witness.example/late")
	if err != nil {
		return nil, nil, err
	}
	keys := []string{public, vkey(witness, key), vkey(late, append([]byte{mldsaType}, late.key.PublicKey().Bytes()...))}
	return []note.Signer{own, witness, late}, keys, nil
}

func vkey(signer note.Signer, key []byte) string {
	return fmt.Sprintf("%s+%08x+%s", signer.Name(), signer.KeyHash(), base64.StdEncoding.EncodeToString(key))
}

type mldsaSigner struct {
	name string
	id   uint32
	key  *mldsa.PrivateKey
}

func newMLDSASigner(name string) (*mldsaSigner, error) {
	key, err := mldsa.GenerateKey(mldsa.MLDSA44())
	if err != nil {
		return nil, err
	}
	return &mldsaSigner{name, keyID(name, append([]byte{mldsaType}, key.PublicKey().Bytes()...)), key}, nil
}

func (s *mldsaSigner) Name() string    { return s.name }
func (s *mldsaSigner) KeyHash() uint32 { return s.id }

func (s *mldsaSigner) Sign(text []byte) ([]byte, error) {
	now := uint64(time.Now().Unix())
	message, err := treeMessage(s.name, now, text)
	if err != nil {
		return nil, err
	}
	signature, err := s.key.Sign(nil, message, nil)
	return append(binary.BigEndian.AppendUint64(nil, now), signature...), err
}

func signedHead(name string, size int64, reader tlog.HashReader, signers []note.Signer) (string, error) {
	root, err := tlog.TreeHash(size, reader)
	if err != nil {
		return "", err
	}
	head := log.Checkpoint{Origin: name, Size: uint64(size), Hash: root[:]}
	signed, err := note.Sign(&note.Note{Text: string(head.Marshal())}, signers...)
	return string(signed), err
}

func writeTiles(directory string, size int64, reader tlog.HashReader, checkpoint string) error {
	for _, tile := range tlog.NewTiles(height, 0, size) {
		content, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			return err
		}
		if err := write(directory, pathOf(tile), content); err != nil {
			return err
		}
		if tile.L > 0 {
			continue
		}
		var bundle []byte
		for at := range tile.W {
			entry := entryOf(tile.N<<height + int64(at))
			bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(entry))), entry...)
		}
		tile.L = -1
		if err := write(directory, pathOf(tile), bundle); err != nil {
			return err
		}
	}
	return write(directory, "checkpoint", []byte(checkpoint))
}

func write(directory, path string, content []byte) error {
	whole := filepath.Join(directory, path)
	if err := os.MkdirAll(filepath.Dir(whole), 0o755); err != nil {
		return err
	}
	return os.WriteFile(whole, content, 0o644)
}
