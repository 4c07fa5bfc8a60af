package compress

import (
	"errors"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// reasons are what the reference libraries (zlib, liblz4, libzstd) say of a
// fault that a reader here has found too.
var reasons = []struct {
	err  error
	text string
}{
	{gzip.ErrHeader, "incorrect header check"},
	{gzip.ErrChecksum, "incorrect data check"},
	{lz4.ErrInvalidFrame, "ERROR_frameType_unknown"},
	{lz4.ErrInvalidHeaderChecksum, "ERROR_headerChecksum_invalid"},
	{lz4.ErrInvalidBlockChecksum, "ERROR_blockChecksum_invalid"},
	{lz4.ErrInvalidFrameChecksum, "ERROR_contentChecksum_invalid"},
	{zstd.ErrMagicMismatch, "Unknown frame descriptor"},
	{zstd.ErrCRCMismatch, "Restored data doesn't match checksum"},
}

// Reason is what the reference library of the method says of an error of a
// reader, or the error's own text where that is not known.
func Reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.text
		}
	}
	return err.Error()
}
