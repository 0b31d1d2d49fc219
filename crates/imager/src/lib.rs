//! The engine: resolve a request into a lock, plan the lock into extents.
