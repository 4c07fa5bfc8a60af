package logstream

import (
	"encoding/binary"
	"fmt"
	"time"
)

// The messages inside CopyData of a stream (PostgreSQL manual, "Streaming Replication Protocol"), all integers
// big endian:
//
//	server  'w'  int64 start LSN  int64 server's end LSN  int64 time  WAL bytes
//	server  'k'  int64 server's end LSN  int64 time  byte reply requested
//	client  'r'  int64 written  int64 flushed  int64 applied  int64 time  byte reply requested
const (
	kindWALData   = 'w'
	kindKeepalive = 'k'
	kindStatus    = 'r'

	walDataHeader = 1 + 8 + 8 + 8
	keepaliveSize = 1 + 8 + 8 + 1
	statusSize    = 1 + 8 + 8 + 8 + 8 + 1
)

// walData is a 'w' message. data lies in the message that it was decoded from.
type walData struct {
	start     LSN
	serverEnd LSN
	data      []byte
}

func decodeWALData(body []byte) (walData, error) {
	if len(body) < walDataHeader {
		return walData{}, fmt.Errorf("streaming header too small: %d bytes", len(body))
	}
	return walData{
		start:     LSN(binary.BigEndian.Uint64(body[1:])),
		serverEnd: LSN(binary.BigEndian.Uint64(body[9:])),
		data:      body[walDataHeader:],
	}, nil
}

// keepalive is a 'k' message.
type keepalive struct {
	serverEnd      LSN
	replyRequested bool
}

func decodeKeepalive(body []byte) (keepalive, error) {
	if len(body) < keepaliveSize {
		return keepalive{}, fmt.Errorf("keepalive too small: %d bytes", len(body))
	}
	return keepalive{
		serverEnd:      LSN(binary.BigEndian.Uint64(body[1:])),
		replyRequested: body[17] != 0,
	}, nil
}

// status is an 'r' message. Nothing is ever applied here, so that field is 0.
type status struct {
	written, flushed LSN
	at               time.Time
	askReply         bool
}

func appendStatus(dst []byte, s status) []byte {
	dst = append(dst, kindStatus)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.written))
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.flushed))
	dst = binary.BigEndian.AppendUint64(dst, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.at.Sub(postgresEpoch)/time.Microsecond))
	if s.askReply {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// postgresEpoch is where PostgreSQL's timestamps count from, in microseconds.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
