//go:build tools

// Package tools names what is built of this module.
package tools

import _ "github.com/opencontainers/distribution-spec/conformance"
