package basebackup

import (
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/pgbraid/pgbraid/tarx"
)

// tarEdit is what is changed in the base archive on its way.
type tarEdit struct {
	mode   fs.FileMode       // of members that are made here
	drop   map[string]bool   // members that are left out
	append map[string]string // text that goes behind a member's content; the member is made where none comes
	add    []addedFile       // members at the archive's end
}

type addedFile struct{ name, content string }

// standbyEdit makes an archive that of a standby, as writeStandbyFiles does
// with a directory.
func standbyEdit(version int, mode fs.FileMode, settings string) *tarEdit {
	e := &tarEdit{mode: mode}
	for _, f := range standbyFiles(version, settings) {
		if f.append {
			e.append = map[string]string{f.name: f.content}
			continue
		}
		if e.drop == nil {
			e.drop = map[string]bool{}
		}
		e.drop[f.name] = true
		e.add = append(e.add, addedFile{f.name, f.content})
	}
	return e
}

// rewriter is a tarx.Handler that writes an archive anew, with the changes of
// a tarEdit.
type rewriter struct {
	*tarx.Writer
	edit     *tarEdit
	made     map[string]bool // members of edit.append that came
	dropping bool
	behind   string // goes behind the present member's content
}

func newRewriter(out io.Writer, e *tarEdit) *rewriter {
	return &rewriter{Writer: tarx.NewWriter(out), edit: e, made: map[string]bool{}}
}

// BeginMember implements tarx.Handler.
func (r *rewriter) BeginMember(h *tarx.Header) error {
	r.behind = ""
	if r.dropping = r.edit.drop[h.Name]; r.dropping {
		return nil
	}
	if text, ok := r.edit.append[h.Name]; ok {
		longer := *h
		longer.Size += int64(len(text))
		longer.ModTime = time.Now()
		r.behind, r.made[h.Name], h = text, true, &longer
	}
	return r.Writer.BeginMember(h)
}

// Content implements tarx.Handler.
func (r *rewriter) Content(p []byte) error {
	if r.dropping {
		return nil
	}
	return r.Writer.Content(p)
}

// EndMember implements tarx.Handler.
func (r *rewriter) EndMember() error {
	if r.dropping {
		return nil
	}
	if r.behind != "" {
		if err := r.Writer.Content([]byte(r.behind)); err != nil {
			return err
		}
	}
	return r.Writer.EndMember()
}

// addMissing writes, behind the last member, those that are made here.
func (r *rewriter) addMissing() error {
	for name, text := range r.edit.append {
		if !r.made[name] {
			if err := r.addFile(name, text); err != nil {
				return err
			}
		}
	}
	for _, f := range r.edit.add {
		if err := r.addFile(f.name, f.content); err != nil {
			return err
		}
	}
	return nil
}

func (r *rewriter) addFile(name, content string) error {
	return r.WriteFile(memberHeader(name, r.edit.mode, int64(len(content))), []byte(content))
}

// copyManifest puts the manifest into the archive.
func (r *rewriter) copyManifest(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := r.Writer.BeginMember(memberHeader(manifestName, r.edit.mode, info.Size())); err != nil {
		return err
	}
	if _, err := io.Copy(contentWriter{r.Writer}, f); err != nil {
		return err
	}
	return r.Writer.EndMember()
}

// contentWriter writes to the present member of a tar stream.
type contentWriter struct{ tar *tarx.Writer }

func (c contentWriter) Write(p []byte) (int, error) {
	if err := c.tar.Content(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// memberHeader is that of a file that is made here. It belongs to the user
// that runs this, as in archives of the server, which unpacking does not heed
// unless root does it.
func memberHeader(name string, mode fs.FileMode, size int64) *tarx.Header {
	return &tarx.Header{
		Name: name, Type: tarx.TypeFile, Mode: uint32(mode.Perm()), Size: size,
		UID: os.Geteuid(), GID: os.Getegid(), ModTime: time.Now(),
	}
}
