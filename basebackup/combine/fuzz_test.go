package combine

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
)

// FuzzHeader reads incremental files of a cluster with small segments: what
// is taken must be in order, and be found again in what it was read from.
func FuzzHeader(f *testing.F) {
	f.Add(incremental(3, nil))
	f.Add(incremental(3, map[uint32][]byte{0: block(1), 2: block(2)}))
	f.Add(incremental(0, map[uint32][]byte{15: block(1)}))
	f.Add([]byte{})
	g := geometry{blockSize: blockSize, segmentBlocks: 16}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHeader(bytes.NewReader(b), int64(len(b)), g)
		if err != nil {
			return
		}
		if h.length() > g.segmentBlocks || h.data+int64(len(h.blocks))*g.blockSize != int64(len(b)) {
			t.Fatalf("%d bytes: %+v", len(b), h)
		}
		blocks := map[uint32][]byte{}
		for i, n := range h.blocks {
			blocks[n] = b[h.data+int64(i)*g.blockSize:][:g.blockSize]
		}
		again := incremental(h.truncation, blocks)
		// The padding need not be zeros.
		if len(again) != len(b) || !bytes.Equal(again[:fixedHeader+4*len(h.blocks)], b[:fixedHeader+4*len(h.blocks)]) ||
			!bytes.Equal(again[h.data:], b[h.data:]) {
			t.Fatal("not what it was read from")
		}
	})
}

// FuzzLabel reads labels: the text for the result must be that of a full
// backup which starts at the same place.
func FuzzLabel(f *testing.F) {
	f.Add([]byte(labelText(0x2000028, 0)))
	f.Add([]byte(labelText(0x3000028, 0x2000028)))
	f.Add([]byte("START WAL LOCATION: 0/1 \nSTART TIMELINE: 4294967295\nINCREMENTAL FROM TLI: 1\nINCREMENTAL FROM LSN: 1/1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := lineage.ParseLabel(text)
		if err != nil {
			return
		}
		if !l.Incremental() && !bytes.Equal(l.Full(), text) {
			t.Fatalf("a full backup's label was changed: %q", l.Full())
		}
		full, err := lineage.ParseLabel(l.Full())
		if err != nil || full.Incremental() || full.Start != l.Start {
			t.Fatalf("%+v of %q, %v", full, l.Full(), err)
		}
		if strings.Contains("\n"+string(full.Text), "\n"+"INCREMENTAL FROM LSN"+": ") {
			t.Fatalf("%q", full.Text)
		}
	})
}
