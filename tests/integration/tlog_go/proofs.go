package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
	"sigsum.org/sigsum-go/pkg/crypto"
	"sigsum.org/sigsum-go/pkg/merkle"
)

const heading = "c2sp.org/tlog-proof@v1"

// checkInclusion asks three libraries, which must be of one mind.
func checkInclusion(hashes []tlog.Hash, size int64, root tlog.Hash, index int64, leaf tlog.Hash) error {
	other, otherRoot := crypto.Hash(leaf), crypto.Hash(root)
	return agreed(
		tlog.CheckRecord(hashes, size, root, index, leaf),
		proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), leaf[:], slices(hashes), root[:]),
		merkle.VerifyInclusion(&other, uint64(index), uint64(size), &otherRoot, hashesOf(hashes)),
	)
}

func checkConsistency(hashes []tlog.Hash, size int64, root tlog.Hash, old int64, oldRoot tlog.Hash) error {
	before, after := crypto.Hash(oldRoot), crypto.Hash(root)
	return agreed(
		tlog.CheckTree(hashes, size, root, old, oldRoot),
		proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old), uint64(size), slices(hashes), oldRoot[:], root[:]),
		merkle.VerifyConsistency(uint64(old), uint64(size), &before, &after, hashesOf(hashes)),
	)
}

func agreed(sumdb, transparency, sigsum error) error {
	if (sumdb == nil) != (transparency == nil) || (sumdb == nil) != (sigsum == nil) {
		return fmt.Errorf("they disagree: sumdb %v, transparency-dev %v, sigsum %v", sumdb, transparency, sigsum)
	}
	return sumdb
}

// checkProof reads a tlog-proof, and checks that the entry is in the log of the first key.
func checkProof(text, entry string, keys []string) (*opened, error) {
	above, checkpoint, found := strings.Cut(text, "\n\n")
	lines := strings.Split(above, "\n")
	if !found || lines[0] != heading {
		return nil, fmt.Errorf("this is no %s", heading)
	}
	if lines = lines[1:]; len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 {
		return nil, errors.New("the proof has no index")
	}
	said, found := strings.CutPrefix(lines[0], "index ")
	index, err := strconv.ParseInt(said, 10, 64)
	if !found || err != nil || strconv.FormatInt(index, 10) != said {
		return nil, fmt.Errorf("%q is no line of an index", lines[0])
	}
	hashes := make([]tlog.Hash, 0, len(lines)-1)
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	head, err := open(checkpoint, keys)
	if err != nil {
		return nil, err
	}
	return head, checkInclusion(hashes, int64(head.Size), head.Root, index, tlog.RecordHash([]byte(entry)))
}

func slices(hashes []tlog.Hash) [][]byte {
	found := make([][]byte, len(hashes))
	for at := range hashes {
		found[at] = hashes[at][:]
	}
	return found
}

func hashesOf(hashes []tlog.Hash) []crypto.Hash {
	found := make([]crypto.Hash, len(hashes))
	for at := range hashes {
		found[at] = crypto.Hash(hashes[at])
	}
	return found
}

func sha256Of(parts ...[]byte) [32]byte {
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	return sha256.Sum256(all)
}
