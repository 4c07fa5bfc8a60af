package combine

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/logstream"
)

// labelFile is the name of the file in which a backup says where it starts
// (src/backend/access/transam/xlogbackup.c).
const labelFile = "backup_label"

// maxLabel is the longest file that is taken, in bytes. Servers write some
// hundred, and a label of up to 1024.
const maxLabel = 10000 + 1024

// Lines of the file.
const (
	lineStart        = "START WAL LOCATION"
	lineTimeline     = "START TIMELINE"
	lineFromLSN      = "INCREMENTAL FROM LSN"
	lineFromTimeline = "INCREMENTAL FROM TLI"
)

// label is what a backup_label says.
type label struct {
	text []byte
	// start is the position of the backup's first checkpoint's redo point.
	start logstream.Position
	// from is the start of the backup that this one is on top of; zero if it
	// is a full one.
	from logstream.Position
}

func (l *label) incremental() bool { return l.from.Timeline != 0 }

// parseLabel reads the text of a backup_label, which it keeps. Lines that it
// does not know are none of its business.
func parseLabel(text []byte) (label, error) {
	l := label{text: text}
	var haveStart, haveFromLSN bool
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(string(line), ": ")
		var err error
		switch key {
		case lineStart:
			lsn, _, found := strings.Cut(value, " ")
			if !found {
				return label{}, fmt.Errorf("improper terminator for %s", key)
			}
			haveStart = true
			l.start.LSN, err = logstream.ParseLSN(lsn)
		case lineFromLSN:
			lsn, whole := strings.CutSuffix(value, "\n")
			if !whole {
				return label{}, fmt.Errorf("improper terminator for %s", key)
			}
			haveFromLSN = true
			l.from.LSN, err = logstream.ParseLSN(lsn)
		case lineTimeline:
			l.start.Timeline, err = parseTimeline(value)
		case lineFromTimeline:
			l.from.Timeline, err = parseTimeline(value)
		}
		if err != nil {
			return label{}, fmt.Errorf("could not parse %s", key)
		}
	}
	switch {
	case !haveStart:
		return label{}, fmt.Errorf("could not find %s", lineStart)
	case l.start.Timeline == 0:
		return label{}, fmt.Errorf("could not find %s", lineTimeline)
	case haveFromLSN && l.from.Timeline == 0:
		return label{}, fmt.Errorf("%s requires %s", lineFromLSN, lineFromTimeline)
	case !haveFromLSN && l.from.Timeline != 0:
		return label{}, fmt.Errorf("%s requires %s", lineFromTimeline, lineFromLSN)
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

// full is the text without the lines that make a server refuse to start from
// it: "this is an incremental backup, not a data directory".
func (l *label) full() []byte {
	var text []byte
	for line := range bytes.Lines(l.text) {
		if !bytes.HasPrefix(line, []byte(lineFromLSN+": ")) && !bytes.HasPrefix(line, []byte(lineFromTimeline+": ")) {
			text = append(text, line...)
		}
	}
	return text
}
