package walsender

import (
	"fmt"
	"maps"
	"strings"
)

// Slot is a physical replication slot.
type Slot struct {
	RestartLSN LSN    // 0 if no WAL is reserved
	Timeline   uint32 // that RestartLSN lies on
	Temporary  bool
	conn       int // the session that a temporary slot belongs to
	active     int // the session that streams from it; 0 for none
}

// AddSlot makes a slot that exists from the beginning.
func (s *Server) AddSlot(name string, slot Slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots[name] = &slot
}

// Slots returns the slots that exist now. A slot's RestartLSN follows the
// flush position that is reported.
func (s *Server) Slots() map[string]Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]Slot{}
	for name, slot := range maps.All(s.slots) {
		m[name] = *slot
	}
	return m
}

// dropTemporarySlots needs s.mu.
func (s *Server) dropTemporarySlots(conn int) {
	if conn == 0 {
		return // no session came of this connection
	}
	for name, slot := range s.slots {
		if slot.Temporary && slot.conn == conn {
			delete(s.slots, name)
		} else if slot.active == conn {
			slot.active = 0
		}
	}
}

// advanceSlot needs s.mu.
func (s *Server) advanceSlot(conn int, f Feedback) {
	for _, slot := range s.slots {
		if slot.active == conn && f.Flushed != 0 {
			slot.RestartLSN = f.Flushed
		}
	}
}

// useSlot gives a slot to a session that streams. Otherwise it says why not.
func (s *Server) useSlot(name string, conn int) (sqlstate, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.slots[name]
	switch {
	case slot == nil:
		return "42704", fmt.Sprintf("replication slot %q does not exist", name)
	case slot.active != 0 && slot.active != conn, slot.Temporary && slot.conn != conn:
		return "55006", fmt.Sprintf("replication slot %q is active for PID %d", name, 1000+slot.active)
	}
	slot.active = conn
	return "", ""
}

func (s *Server) releaseSlots(conn int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, slot := range s.slots {
		if slot.active == conn {
			slot.active = 0
		}
	}
}

// createSlot plays CREATE_REPLICATION_SLOT (PostgreSQL manual, "Streaming Replication Protocol").
func (s *Server) createSlot(c *Conn) error {
	name := word(c.query, 1)
	upper := strings.ToUpper(c.query)
	if !strings.Contains(upper, " PHYSICAL") || strings.Contains(upper, "(") && s.Major() < 15 {
		c.Fail("42601", "syntax error")
		return nil
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		c.Fail("42602", fmt.Sprintf("replication slot name %q contains invalid character", name))
		return nil
	}
	at := s.position()
	s.mu.Lock()
	_, exists := s.slots[name]
	if !exists {
		slot := &Slot{Temporary: strings.Contains(upper, " TEMPORARY"), conn: c.id, Timeline: at.Timeline}
		if strings.Contains(upper, "RESERVE_WAL") {
			slot.RestartLSN = at.LSN
		}
		s.slots[name] = slot
	}
	s.mu.Unlock()
	if exists {
		c.Fail("42710", fmt.Sprintf("replication slot %q already exists", name))
		return nil
	}
	c.Answer(createColumns, name, "0/0", nil, nil)
	return nil
}

func (s *Server) dropSlot(c *Conn) error {
	name := word(c.query, 1)
	s.mu.Lock()
	slot := s.slots[name]
	active := 0
	if slot != nil {
		if active = slot.active; active == 0 {
			delete(s.slots, name)
		}
	}
	s.mu.Unlock()
	switch {
	case slot == nil:
		c.Fail("42704", fmt.Sprintf("replication slot %q does not exist", name))
	case active != 0:
		c.Fail("55006", fmt.Sprintf("replication slot %q is active for PID %d", name, 1000+active))
	default:
		c.Complete("DROP_REPLICATION_SLOT")
	}
	return nil
}

func (s *Server) readSlot(c *Conn) error {
	slot, ok := s.Slots()[word(c.query, 1)]
	switch {
	case !ok:
		c.Answer(readColumns, nil, nil, nil)
	case slot.RestartLSN == 0:
		c.Answer(readColumns, "physical", nil, nil)
	default:
		c.Answer(readColumns, "physical", slot.RestartLSN, slot.Timeline)
	}
	return nil
}
