//! What is asked for: the schematic, its canonical YAML and its id.
