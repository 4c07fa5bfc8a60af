package combine

import (
	"fmt"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
)

const labelFile = lineage.LabelFile

// readLabel reads a backup_label.
func readLabel(path string) (lineage.Label, error) {
	text, err := readSmall(path, lineage.MaxLabel)
	if err != nil {
		return lineage.Label{}, err
	}
	l, err := lineage.ParseLabel(text)
	if err != nil {
		return lineage.Label{}, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}
