package internal_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	codeSpan     = regexp.MustCompile("`([^`\\s]+)`")
	makeTarget   = regexp.MustCompile("`make ([a-z-]+)")
)

// TestDocumentsNameWhatIsThere looks for every file and directory of this
// repository that a document names, and every target of the Makefile.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	t.Parallel()
	root := os.DirFS("..")
	files := sourceFiles(t, root)
	makefile, err := fs.ReadFile(root, "Makefile")
	if err != nil {
		t.Fatal(err)
	}
	documents := slices.DeleteFunc(slices.Clone(files), func(name string) bool { return path.Ext(name) != ".md" })
	if len(documents) < 5 {
		t.Fatalf("documents are %q", documents)
	}
	for _, document := range documents {
		content, err := fs.ReadFile(root, document)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		for _, link := range markdownLink.FindAllStringSubmatch(text, -1) {
			to, _, _ := strings.Cut(link[1], "#")
			if to == "" || strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			if _, err := fs.Stat(root, path.Join(path.Dir(document), to)); err != nil {
				t.Errorf("%s links to %s: %v", document, link[1], err)
			}
		}
		for _, span := range codeSpan.FindAllStringSubmatch(text, -1) {
			if name := span[1]; meansFile(root, name) && !anyMatches(files, name) {
				t.Errorf("%s names %s, which is not there", document, name)
			}
		}
		for _, target := range makeTarget.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+target[1]+":") {
				t.Errorf("%s names make %s, which is no target", document, target[1])
			}
		}
	}
}

// sourceFiles are the files and directories of the repository, without what the
// tests bring and what is built.
func sourceFiles(t *testing.T, root fs.FS) (files []string) {
	t.Helper()
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name != "." && (name == ".git" || name == ".cache" || name == "bin") {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		files = append(files, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// meansFile tells whether a piece of code is the name of a file of ours: a Go
// file, or something below a directory at the top.
func meansFile(root fs.FS, name string) bool {
	if path.Ext(name) == ".go" {
		return true
	}
	top, rest, _ := strings.Cut(name, "/")
	info, err := fs.Stat(root, top)
	return err == nil && info.IsDir() && rest != "" && top != ".cache" && top != "bin"
}

// anyMatches tells whether there is a file of that name, which may be a pattern,
// or, if it has no directory, one of that name anywhere.
func anyMatches(files []string, pattern string) bool {
	pattern = strings.TrimSuffix(pattern, "/")
	return slices.ContainsFunc(files, func(file string) bool {
		if !strings.Contains(pattern, "/") {
			file = path.Base(file)
		}
		ok, err := path.Match(pattern, file)
		return ok && err == nil
	})
}
