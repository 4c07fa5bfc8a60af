package lineage

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/logstream"
)

// LabelFile is the name of the file in which a backup says where it starts
// (src/backend/access/transam/xlogbackup.c).
const LabelFile = "backup_label"

// MaxLabel is the longest file that is taken, in bytes. Servers write some
// hundred, and a label of up to 1024.
const MaxLabel = 10000 + 1024

// Lines of the file.
const (
	lineStart        = "START WAL LOCATION"
	lineTimeline     = "START TIMELINE"
	lineFromLSN      = "INCREMENTAL FROM LSN"
	lineFromTimeline = "INCREMENTAL FROM TLI"
)

// Label is what a backup_label says.
type Label struct {
	// Text is all of it.
	Text []byte
	// Start is the position of the redo point of the backup's first checkpoint.
	Start logstream.Position
	// From is the start of the backup that this one is on top of; zero if it
	// is a full one.
	From logstream.Position
}

// Incremental tells whether the backup is on top of another one.
func (l *Label) Incremental() bool { return l.From.Timeline != 0 }

// ParseLabel reads the text of a backup_label, which it keeps. Lines that it
// does not know are none of its business.
func ParseLabel(text []byte) (Label, error) {
	l := Label{Text: text}
	var haveStart, haveFromLSN bool
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(string(line), ": ")
		var err error
		switch key {
		case lineStart:
			lsn, _, found := strings.Cut(value, " ")
			if !found {
				return Label{}, fmt.Errorf("improper terminator for %s", key)
			}
			haveStart = true
			l.Start.LSN, err = logstream.ParseLSN(lsn)
		case lineFromLSN:
			lsn, whole := strings.CutSuffix(value, "\n")
			if !whole {
				return Label{}, fmt.Errorf("improper terminator for %s", key)
			}
			haveFromLSN = true
			l.From.LSN, err = logstream.ParseLSN(lsn)
		case lineTimeline:
			l.Start.Timeline, err = parseTimeline(value)
		case lineFromTimeline:
			l.From.Timeline, err = parseTimeline(value)
		}
		if err != nil {
			return Label{}, fmt.Errorf("could not parse %s", key)
		}
	}
	switch {
	case !haveStart:
		return Label{}, fmt.Errorf("could not find %s", lineStart)
	case l.Start.Timeline == 0:
		return Label{}, fmt.Errorf("could not find %s", lineTimeline)
	case haveFromLSN && l.From.Timeline == 0:
		return Label{}, fmt.Errorf("%s requires %s", lineFromLSN, lineFromTimeline)
	case !haveFromLSN && l.From.Timeline != 0:
		return Label{}, fmt.Errorf("%s requires %s", lineFromTimeline, lineFromLSN)
	}
	return l, nil
}

func parseTimeline(value string) (logstream.TimelineID, error) {
	digits, whole := strings.CutSuffix(value, "\n")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err == nil && (n == 0 || !whole) {
		err = errors.New("no timeline")
	}
	return logstream.TimelineID(n), err
}

// Full is the text without the lines that make a server refuse to start from
// it: "this is an incremental backup, not a data directory".
func (l *Label) Full() []byte {
	var text []byte
	for line := range bytes.Lines(l.Text) {
		if !bytes.HasPrefix(line, []byte(lineFromLSN+": ")) && !bytes.HasPrefix(line, []byte(lineFromTimeline+": ")) {
			text = append(text, line...)
		}
	}
	return text
}
