//! FAT32 volumes.
