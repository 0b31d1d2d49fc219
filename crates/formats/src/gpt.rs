//! GUID partition tables with their protective MBR.
