//! tar archives read as trees of ranges.
