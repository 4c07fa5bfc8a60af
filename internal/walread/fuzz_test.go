package walread

import (
	"errors"
	"testing"
)

// FuzzReader gives any bytes as WAL: the walk must end, move forward with
// every record, stay within the bytes, and not read them again and again.
func FuzzReader(f *testing.F) {
	small := crossing()
	f.Add(small.buf, uint32(0))
	f.Add(small.buf[:1100], uint32(1024))
	b := newBuilder()
	b.pageSize = 1024
	f.Add(b.many(5, 90).toPageEnd(24).abort(3000).add(0, 0xD0, 42).buf, uint32(700))
	f.Add(newBuilder().many(3, 30).add(rmgrXLOG, infoSwitch, 24).buf[:300], uint32(40))
	f.Add(make([]byte, 100), uint32(3))
	f.Fuzz(func(t *testing.T, wal []byte, from uint32) {
		m := &memory{base: testBase, bytes: wal}
		start := uint64(testBase) + uint64(from%testSegment)
		_, err := FirstRecord(m, start, testOptions)
		if _, ok := errors.AsType[*EndError](err); err != nil && !ok && !errors.Is(err, ErrByteOrder) {
			t.Fatal(err)
		}
		r, err := NewReader(m, start&^7, testOptions)
		if err != nil {
			t.Fatal(err)
		}
		records, at := 0, r.Position()
		for {
			rec, err := r.Next()
			if end, ok := errors.AsType[*EndError](err); ok {
				if end.LSN != r.Position() || end.Error() == "" {
					t.Fatalf("%+v, position %X", end, r.Position())
				}
				break
			}
			if errors.Is(err, ErrByteOrder) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if rec.LSN < at || rec.LSN+24 > rec.End || rec.End <= at || rec.LSN+uint64(rec.Length) > testBase+uint64(len(wal)) {
				t.Fatalf("%+v after %X", rec, at)
			}
			at = rec.End
			records++
		}
		if most := 60 + len(wal)/1024; m.reads > most {
			t.Fatalf("%d reads for %d bytes and %d records", m.reads, len(wal), records)
		}
	})
}
