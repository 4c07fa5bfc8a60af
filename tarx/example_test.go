package tarx_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/pgbraid/pgbraid/tarx"
)

// lister prints each member that would be safe to extract.
type lister struct{ bytes int }

func (l *lister) BeginMember(h *tarx.Header) error {
	name, err := tarx.CleanName(h.Name)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s, mode %o, %d bytes\n", h.Type, name, h.Mode, h.Size)
	return nil
}

func (l *lister) Content(p []byte) error { l.bytes += len(p); return nil }
func (l *lister) EndMember() error       { return nil }

func Example() {
	label := "START WAL LOCATION: 0/2000028\n"
	stream, _ := tarx.AppendHeader(nil, &tarx.Header{Name: "backup_label", Mode: 0o600, Size: int64(len(label))})
	stream = append(stream, label...)
	stream = append(stream, tarx.Trailer[:tarx.Padding(int64(len(label)))]...)
	stream, _ = tarx.AppendHeader(stream, &tarx.Header{Name: "./pg_wal/summaries/", Type: tarx.TypeDirectory, Mode: 0o700})
	stream = append(stream, tarx.Trailer...)

	handler := &lister{}
	p := tarx.NewParser(handler)
	if _, err := io.Copy(p, strings.NewReader(string(stream))); err != nil {
		fmt.Println(err)
	}
	if err := p.Close(); err != nil {
		fmt.Println(err)
	}
	fmt.Println("content:", handler.bytes)

	p.Reset(handler)
	p.Write(stream[:600])
	fmt.Println(p.Close())
	// Output:
	// file backup_label, mode 600, 30 bytes
	// directory pg_wal/summaries, mode 700, 0 bytes
	// content: 30
	// file backup_label, mode 600, 30 bytes
	// tar stream at byte 600: truncated in the padding of member "backup_label"
}
