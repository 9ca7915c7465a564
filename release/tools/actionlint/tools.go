//go:build tools

// Package tools names the command that is built, so that go.mod and go.sum stay complete.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
