//! What a board needs, as data.
