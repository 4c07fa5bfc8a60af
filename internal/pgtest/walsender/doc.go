// Package walsender is a scripted walsender for tests. It speaks the server's
// side of the replication protocol on a loopback port, and does what a real
// server will not do when asked: send malformed messages, break off at a
// given byte, stop in the middle of a backup, forget WAL.
//
//	s := walsender.New(t, walsender.Options{Version: "18.4"})
//	wal := walsender.NewWAL(0x2000000, 0x2800000)
//	s.ServeWAL(wal)
//	s.ServeBackup(walsender.SampleBackup())
//	… run the code under test against s.ConnString() …
//	s.Queries()  // what was asked
//	s.Feedback() // what was reported
//
// Without faults it behaves as a real one (src/backend/replication/walsender.c). A fault is
// put in at one of these places:
//
//   - Server.Handle and HandleOnce replace the answer to a command;
//   - Backup.Before, Instead and After are run around each step of
//     BASE_BACKUP, and EditArchive and EditManifest change what is sent;
//   - WAL.At runs something when the stream reaches an LSN;
//   - Options.OnStartup replaces the first answer on a connection;
//   - Conn.CutAfter, ResetAfter, Split and BeforeEach change how bytes reach
//     the socket.
//
// Messages are encoded and decoded by pgproto3/v2, another implementation than
// the one under test. The package imports nothing of the program, so that
// tests inside any package can use it.
package walsender
