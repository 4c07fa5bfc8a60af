// Package compress is the one table of compression methods: what they are
// called, how their files are named, how they are written and read.
//
//	spec, err := compress.Parse("zstd:level=3,workers=2")
//	w, err := spec.NewWriter(file)
//
// Libraries do the compressing: klauspost/compress gzip and zstd
// (klauspost/pgzip where several processors work at one gzip stream),
// pierrec/lz4/v4 the frame format of lz4.
package compress

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/pierrec/lz4/v4"
)

// Method of compression; the zero value is none.
type Method string

// The methods.
const (
	None Method = ""
	Gzip Method = "gzip"
	LZ4  Method = "lz4"
	Zstd Method = "zstd"
)

// methods lists what can be chosen, with the range of levels (src/common/compression.c).
var methods = []struct {
	method   Method
	suffix   string
	min, max int
}{
	{Gzip, ".gz", 1, 9},
	{LZ4, ".lz4", 1, 12},
	{Zstd, ".zst", 1, 22},
}

// Spec says how to compress.
type Spec struct {
	Method  Method
	Level   int  // 0 is the method's default
	Workers int  // goroutines; 0 is one for each processor
	Long    bool // zstd: a window of 128 MiB
}

// Suffix of a file of this method, such as .gz; "" for none.
func (m Method) Suffix() string {
	for _, e := range methods {
		if e.method == m {
			return e.suffix
		}
	}
	return ""
}

// BySuffix tells a file's method by its name, and the name without the suffix.
func BySuffix(name string) (m Method, base string) {
	for _, e := range methods {
		if base, ok := strings.CutSuffix(name, e.suffix); ok {
			return e.method, base
		}
	}
	return None, name
}

// Parse reads METHOD[:DETAIL] as -Z takes it: none, gzip, lz4 or zstd; or an
// integer, where 0 is none and more is a level of gzip. DETAIL is a level, or
// a list of level=N, workers=N and, for zstd, long.
func Parse(text string) (Spec, error) {
	if level, err := strconv.Atoi(text); err == nil {
		if level == 0 {
			return Spec{}, nil
		}
		text = "gzip:" + text
	}
	name, detail, hasDetail := strings.Cut(text, ":")
	method, err := parseMethod(name)
	if err != nil {
		return Spec{}, err
	}
	spec := Spec{Method: method}
	if !hasDetail {
		return spec, nil
	}
	if method == None {
		return Spec{}, errors.New("compression method none takes no detail")
	}
	if err := spec.parseDetail(detail); err != nil {
		return Spec{}, fmt.Errorf("compression %q: %w", text, err)
	}
	for _, e := range methods {
		if e.method == method && spec.Level != 0 && (spec.Level < e.min || spec.Level > e.max) {
			return Spec{}, fmt.Errorf("compression %q: level must be from %d to %d", text, e.min, e.max)
		}
	}
	return spec, nil
}

func parseMethod(name string) (Method, error) {
	if name == "none" {
		return None, nil
	}
	for _, e := range methods {
		if string(e.method) == name {
			return e.method, nil
		}
	}
	return None, &UnknownMethodError{name}
}

// maxWorkers caps the goroutines of one stream.
const maxWorkers = 256

func (s *Spec) parseDetail(detail string) error {
	if n, err := strconv.Atoi(detail); err == nil {
		s.Level = n
		if n == 0 {
			return errors.New("level must not be 0")
		}
		return nil
	}
	seen := map[string]bool{}
	for _, part := range strings.Split(detail, ",") {
		key, value, hasValue := strings.Cut(part, "=")
		if seen[key] {
			return fmt.Errorf("%q is given twice", key)
		}
		seen[key] = true
		n, err := strconv.Atoi(value)
		switch {
		case key == "long" && s.Method == Zstd && !hasValue:
			s.Long = true
		case key == "level" && err == nil && n != 0:
			s.Level = n
		case key == "workers" && err == nil && n >= 0 && n <= maxWorkers:
			s.Workers = n
		default:
			return fmt.Errorf("invalid detail %q", part)
		}
	}
	return nil
}

// NewWriter compresses into w. Close ends the stream; it does not close w.
func (s Spec) NewWriter(w io.Writer) (io.WriteCloser, error) {
	switch s.Method {
	case Gzip:
		return s.newGzip(w)
	case LZ4:
		z := lz4.NewWriter(w)
		return z, z.Apply(lz4.CompressionLevelOption(lz4Level(s.Level)), lz4.ChecksumOption(true),
			lz4.BlockSizeOption(lz4.Block1Mb), lz4.ConcurrencyOption(s.workers()))
	case Zstd:
		options := []zstd.EOption{zstd.WithEncoderCRC(true)}
		if s.Level != 0 {
			options = append(options, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(s.Level)))
		}
		switch {
		case s.Long: // what repeats may be far apart: it has to stay one frame
			options = append(options, zstd.WithWindowSize(longWindow), zstd.WithEncoderConcurrency(s.workers()))
		case s.workers() > 1:
			return newFrameWriter(w, s.workers(), options)
		default:
			options = append(options, zstd.WithEncoderConcurrency(1))
		}
		return zstd.NewWriter(w, options...)
	}
	return nil, fmt.Errorf("no such compression method: %q", s.Method)
}

// workers is how many goroutines compress.
func (s Spec) workers() int {
	if s.Workers == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return s.Workers
}

// gzipBlock is how much one goroutine compresses at once, in bytes.
const gzipBlock = 512 << 10

// newGzip compresses blocks beside each other where there are workers for it.
// They make one gzip stream all the same, each block going on with the window
// of the one before.
func (s Spec) newGzip(w io.Writer) (io.WriteCloser, error) {
	level := gzip.DefaultCompression
	if s.Level != 0 {
		level = s.Level
	}
	if s.workers() == 1 {
		return gzip.NewWriterLevel(w, level)
	}
	z, err := pgzip.NewWriterLevel(w, level)
	if err != nil {
		return nil, err
	}
	return z, z.SetConcurrency(gzipBlock, s.workers())
}

// longWindow is the window of zstd --long, in bytes.
const longWindow = 128 << 20

// lz4Level maps the 12 levels of the reference library to those of the one
// that is used here. Below 3 the reference uses its fast mode.
func lz4Level(level int) lz4.CompressionLevel {
	if level < 3 {
		return lz4.Fast
	}
	return lz4.CompressionLevel(1 << (8 + min(level, 9)))
}

// maxDecoderWindow caps what a zstd stream may make its reader hold, in
// bytes.
const maxDecoderWindow = longWindow

// NewReader decompresses r.
func (m Method) NewReader(r io.Reader) (io.ReadCloser, error) {
	switch m {
	case Gzip:
		return gzip.NewReader(r)
	case LZ4:
		return io.NopCloser(lz4.NewReader(r)), nil
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxDecoderWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("no such compression method: %q", m)
}
