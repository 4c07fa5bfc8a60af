// Package tarx reads and writes the tar streams of a PostgreSQL base backup.
//
// The commonest call pushes a stream, in pieces of any size, through a Parser
// into a Handler:
//
//	p := tarx.NewParser(handler)
//	if _, err := io.Copy(p, stream); err != nil {
//		return err
//	}
//	return p.Close()
//
// The Parser takes what a walsender sends: ustar headers with files,
// directories and symbolic links. It is strict about the rest: pax and GNU
// extensions, hard links and special files are errors, and so is a stream that
// ends anywhere but at a member boundary. Content reaches the Handler as slices
// of what was written, without a copy. No input makes the Parser panic, and it
// allocates nothing but the strings of a member's header.
//
// A member's name is the peer's word. A Handler that touches a file system must
// pass it through CleanName, must decide itself where a link may lead, and must
// see to it that it does not write through one that the stream made.
//
// AppendHeader, Padding and Trailer make the same bytes as the server does.
package tarx
