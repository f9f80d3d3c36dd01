// Logs of ours in the hands of other people's code, and logs that this code made, for ours.
//
// It reads questions from standard input, a JSON object a line, and answers each with a line: what was found, or
// {"error": why}. What is checked is checked by the libraries: golang.org/x/mod/sumdb, transparency-dev/merkle and
// formats, sigsum-go, and crypto/mldsa. What stands here hands them what they ask for.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

const lineBytesMax = 16 << 20

// A question names what is to be done, and has the fields that this takes. Of the keys the first is the log's.
type question struct {
	Do        string
	Keys      []string
	Note      string
	Kept      []string
	Directory string
	Name      string
	Step      int64
	Sizes     []int64
	Indexes   []int64
	Index     int64
	Size      int64
	Old       int64
	Leaf      tlog.Hash
	Root      tlog.Hash
	OldRoot   tlog.Hash
	Hashes    []tlog.Hash
	Entry     string
	Proof     string
	Receipt   *receipt
	Request   []byte
	Messages  []message
	Answers   []choice
	URL       string
}

func (q *question) answer() (any, error) {
	switch q.Do {
	case "open":
		return open(q.Note, q.Keys)
	case "inclusion":
		return nil, checkInclusion(q.Hashes, q.Size, q.Root, q.Index, q.Leaf)
	case "consistency":
		return nil, checkConsistency(q.Hashes, q.Size, q.Root, q.Old, q.OldRoot)
	case "read":
		return readLog(q)
	case "proof":
		return checkProof(q.Proof, q.Entry, q.Keys)
	case "receipt":
		return checkReceipt(q)
	case "make":
		return makeLog(q)
	case "submit":
		return submit(q)
	}
	return nil, fmt.Errorf("nothing is known of %q", q.Do)
}

func main() {
	lines, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		var q question
		err := json.Unmarshal(lines.Bytes(), &q)
		var found any
		if err == nil {
			found, err = q.answer()
		}
		if err != nil {
			found = map[string]string{"error": err.Error()}
		}
		if err := out.Encode(found); err != nil {
			panic(err)
		}
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
}
