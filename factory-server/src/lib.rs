//! The factory as an HTTP service.
//!
//! Knows status codes and header fields; knows no formats. A request becomes a description of bytes in the engine,
//! the description becomes an answer here.

pub mod access;
pub mod disposition;
pub mod precondition;
pub mod range;
pub mod representation;
