package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// A receipt, by docs/reference/receipt.md.
type receipt struct {
	V     int
	ID    string
	Entry string
	Proof string
	Salts map[string]string
}

type message struct {
	Content string `json:"content"`
	Role    string `json:"role"`
}

type choice struct {
	Content string `json:"content"`
}

type bound struct {
	Head  *opened
	Bound []string
}

// checkReceipt goes from the entry to the signature, and then from what the reader has to the entry.
func checkReceipt(q *question) (*bound, error) {
	head, err := checkProof(q.Receipt.Proof, q.Receipt.Entry, q.Keys)
	if err != nil {
		return nil, err
	}
	var entry struct{ Fields map[string]any }
	if err := json.Unmarshal([]byte(q.Receipt.Entry), &entry); err != nil {
		return nil, err
	}
	log, request, _ := strings.Cut(q.Receipt.ID, ".")
	if !strings.HasSuffix(head.Origin, "/"+log) || entry.Fields["request_id"] != "req_"+request || q.Receipt.V != 1 {
		return nil, errors.New("the receipt came with the entry of another answer")
	}
	found := &bound{Head: head}
	for _, one := range []struct {
		what, salt string
		content    []byte
	}{
		{"request", "request", q.Request},
		{"prompt", "request", canonical(q.Messages)},
		{"answer", "answer", canonical(q.Answers)},
	} {
		salt, err := hex.DecodeString(q.Receipt.Salts[one.salt])
		if err != nil || len(salt) != 32 {
			return nil, fmt.Errorf("the salt of the %s is no 32 bytes", one.salt)
		}
		sum := sha256Of([]byte("fastness "+one.what+" v1\n"), salt, one.content)
		if entry.Fields[one.what+"_commitment"] == hex.EncodeToString(sum[:]) {
			found.Bound = append(found.Bound, one.what)
		}
	}
	return found, nil
}

// canonical writes JSON with sorted names, no spaces and no escapes but those that JSON demands.
func canonical(value any) []byte {
	var written bytes.Buffer
	encoder := json.NewEncoder(&written)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(written.Bytes(), []byte("\n"))
}
