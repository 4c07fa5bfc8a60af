package combine

import "github.com/pgbraid/pgbraid/basebackup/lineage"

const labelFile = lineage.LabelFile
