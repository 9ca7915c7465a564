// A git server over ssh, for tests.
module gitward.dev/tests/cluster/tools/gitssh

go 1.26.0

require golang.org/x/crypto v0.46.0

require golang.org/x/sys v0.39.0 // indirect
