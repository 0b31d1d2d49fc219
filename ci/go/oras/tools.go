//go:build tools

// Package tools names what is built of this module.
package tools

import _ "oras.land/oras/cmd/oras"
