package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	"sigsum.org/sigsum-go/pkg/checkpoint"
	"sigsum.org/sigsum-go/pkg/crypto"
	"sigsum.org/sigsum-go/pkg/requests"
)

type replied struct {
	Status int
	Type   string
	Body   string
	Time   uint64
	Head   *opened
}

// submit sends a checkpoint to a witness as sigsum's logs do. The first key is the log's and the second the witness's:
// its cosignature is checked by sigsum-go, and below the checkpoint by Go's notes.
func submit(q *question) (*replied, error) {
	var asked requests.AddCheckpoint
	asked.OldSize, asked.Proof.Path = uint64(q.Old), hashesOf(q.Hashes)
	if err := asked.Checkpoint.FromASCII(strings.NewReader(q.Note)); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if err := asked.ToASCII(&body); err != nil {
		return nil, err
	}
	answer, err := http.Post(q.URL, "text/plain", &body)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 65_536))
	if err != nil {
		return nil, err
	}
	found := &replied{Status: answer.StatusCode, Type: answer.Header.Get("Content-Type"), Body: string(said)}
	if found.Status != http.StatusOK {
		return found, nil
	}
	lines, err := checkpoint.CosignatureLinesFromASCII(bytes.NewReader(said))
	if err != nil {
		return nil, err
	}
	var witness checkpoint.NoteVerifier
	if err := witness.FromString(q.Keys[1]); err != nil {
		return nil, err
	}
	cosignature, err := asked.Checkpoint.VerifyCosignatureByKey(lines, (*crypto.PublicKey)(&witness.PublicKey))
	if err != nil {
		return nil, err
	}
	found.Time = cosignature.Timestamp
	if found.Head, err = open(q.Note+string(said), q.Keys); err == nil && len(found.Head.Signed) < 2 {
		err = fmt.Errorf("Go's notes see no signature of %s", witness.Name)
	}
	return found, err
}
