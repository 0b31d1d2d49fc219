//! A complete set of source images made from Debian packages.
