package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// Files of C2SP tlog-tiles, for Go's reader of tiles, which has the height in its paths as well.
type files struct {
	directory string
	read      map[string][]byte
}

func (f *files) Height() int                     { return height }
func (f *files) SaveTiles([]tlog.Tile, [][]byte) {}

func (f *files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for at, tile := range tiles {
		path := pathOf(tile)
		content, known := f.read[path]
		if !known {
			var err error
			if content, err = os.ReadFile(filepath.Join(f.directory, path)); err != nil {
				return nil, err
			}
			f.read[path] = content
		}
		found[at] = content
	}
	return found, nil
}

func pathOf(tile tlog.Tile) string {
	path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
	return strings.Replace(path, "tile/data/", "tile/entries/", 1)
}

// What was read: so many entries hash to the leaves below the checkpoint, so many proofs were made out of tiles, and
// those of the entries and of the kept checkpoints that were asked for.
type readOut struct {
	Head      *opened
	Entries   int64
	Proved    int
	Inclusion [][]tlog.Hash
	Growth    [][]tlog.Hash
}

func readLog(q *question) (*readOut, error) {
	checkpoint, err := os.ReadFile(filepath.Join(q.Directory, "checkpoint"))
	if err != nil {
		return nil, err
	}
	head, err := open(string(checkpoint), q.Keys)
	if err != nil {
		return nil, err
	}
	size := int64(head.Size)
	tiles := &files{q.Directory, map[string][]byte{}}
	hashes := tlog.TileHashReader(tlog.Tree{N: size, Hash: head.Root}, tiles)
	found := &readOut{Head: head}
	if found.Entries, err = readEntries(tiles, hashes, size); err != nil {
		return nil, err
	}
	for index := int64(0); index < size; index += q.Step {
		if _, err := prove(hashes, size, head.Root, index); err != nil {
			return nil, err
		}
		found.Proved++
	}
	for _, index := range q.Indexes {
		proof, err := prove(hashes, size, head.Root, index)
		if err != nil {
			return nil, err
		}
		found.Inclusion = append(found.Inclusion, proof)
	}
	for _, text := range q.Kept {
		old, err := open(text, q.Keys)
		if err != nil {
			return nil, err
		}
		growth, err := tlog.ProveTree(size, int64(old.Size), hashes)
		if err == nil {
			err = checkConsistency(growth, size, head.Root, int64(old.Size), old.Root)
		}
		if err != nil {
			return nil, err
		}
		found.Growth = append(found.Growth, growth)
	}
	return found, nil
}

func prove(hashes tlog.HashReader, size int64, root tlog.Hash, index int64) ([]tlog.Hash, error) {
	leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return nil, err
	}
	proof, err := tlog.ProveRecord(size, index, hashes)
	if err != nil {
		return nil, err
	}
	return proof, checkInclusion(proof, size, root, index, leaf[0])
}

// readEntries reads all bundles, and holds each entry against its leaf, which the checkpoint vouches for.
func readEntries(tiles *files, hashes tlog.HashReader, size int64) (int64, error) {
	count := int64(0)
	for _, tile := range tlog.NewTiles(height, 0, size) {
		if tile.L != 0 {
			continue
		}
		leaves, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return 0, err
		}
		tile.L = -1
		bundles, err := tiles.ReadTiles([]tlog.Tile{tile})
		if err != nil {
			return 0, err
		}
		for rest := bundles[0]; len(rest) > 0; count++ {
			length := 2
			if len(rest) > 2 {
				length += int(binary.BigEndian.Uint16(rest))
			}
			if length > len(rest) || len(leaves) == 0 {
				return 0, fmt.Errorf("%s ends in the middle of an entry, or has too many", pathOf(tile))
			}
			if tlog.RecordHash(rest[2:length]) != tlog.Hash(leaves[:tlog.HashSize]) {
				return 0, fmt.Errorf("entry %d is not what the tree says", count)
			}
			rest, leaves = rest[length:], leaves[tlog.HashSize:]
		}
		if len(leaves) > 0 {
			return 0, fmt.Errorf("%s has too few entries", pathOf(tile))
		}
	}
	return count, nil
}
