//! What the factory must know of a Linux kernel image.
